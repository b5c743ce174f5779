"""Long lists in JSON, made piece by piece, so that nobody waits until a million lines are written.

A list is read while it may change: what comes or goes meanwhile may be in it or not.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple


class LongList(NamedTuple):
    """A list whose items are made when they are written."""

    items: Iterable[object]


class LongMap(NamedTuple):
    """An object whose entries are made when they are written; a value may be long, too."""

    items: Iterable[tuple[str, object]]


def json_pieces(answer: Mapping[str, object]) -> Iterator[str]:
    """The text of a JSON object, piece by piece. Its values may be long lists."""
    before = "{\n  "
    for key, value in answer.items():
        yield f"{before}{json.dumps(key)} : "
        yield from _pieces(value)
        before = ",\n  "
    yield "\n}"


def _pieces(value: object) -> Iterator[str]:
    if isinstance(value, LongList):
        yield "["
        before = " "
        for item in value.items:
            yield before
            yield from _pieces(item)
            before = ",\n    "
        yield " ]"
    elif isinstance(value, LongMap):
        yield "{"
        before = "\n    "
        for key, item in value.items:
            yield f"{before}{json.dumps(key)} : "
            yield from _pieces(item)
            before = ",\n    "
        yield " }"
    else:
        yield json.dumps(value, indent=2, separators=(",", " : ")).replace("\n", "\n  ")
