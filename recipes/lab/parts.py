"""Reads the parts of a trace: the files of `recipes serve --trace` (served/part.py), one of each server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recipes.core.errors import BadArguments
from recipes.lab.served.part import PART_VERSION
from recipes.lab.trace import NEEDED, VERSION, Event, is_time, read_object

_KINDS = frozenset({"send", "deliver", "timer", "write", "fsync", "start", "state", "gone", "end"})
_NEEDED: Mapping[str, Mapping[str, type]] = {
    **{kind: NEEDED[kind] for kind in ("timer", "fsync", "start")},
    "write": {**NEEDED["write"], "bytes": int},
    "send": {"to": str, "role": str, "real": str, "fields": dict, "bytes": int, "link": int, "sum": int},
    "deliver": {"from": str, "link": int, "sum": int},
    "gone": {"from": str, "link": int},
    "end": {"why": str, "down": bool},
}  # fmt: skip
_HEADER: Mapping[str, type] = {"protocol": str, "site": str, "sites": dict, "settings": dict}


@dataclass
class Life:
    """What a server did from one start to its end. end: the last line; None if there is none: the server was killed,
    or the file was copied while it ran."""

    site: str
    events: list[Event] = field(default_factory=list)
    end: Event | None = None


@dataclass(frozen=True)
class Part:
    """What one server has written. header: of its first start. lives: in order."""

    header: Mapping[str, Any]
    lives: list[Life]

    @property
    def site(self) -> str:
        """The server's name."""
        return str(self.header["site"])


def read_part(text: str) -> Part:
    """Read a file, also one that was cut. Raises BadArguments if it is damaged, or something else."""
    lines = text.split("\n")
    header: Mapping[str, Any] = {}
    lives: list[Life] = []
    for number, line in enumerate(lines[:-1], 1):  # what is behind the last newline was cut
        event = read_object(number, line)
        if "version" in event or not lives:
            _check_header(number, event, header)
            header = header or event
            lives.append(Life(event["site"]))
            continue
        life = lives[-1]
        _check(number, event, len(life.events), life, header["sites"])
        if event["k"] == "end":
            life.end = event
        else:
            life.events.append(event)
    if not lives:
        raise BadArguments("", f"no trace of a server: expected a first line with the version {PART_VERSION}")
    return Part(header, [life for life in lives if life.events])


def _check_header(number: int, line: Event, first: Mapping[str, Any]) -> None:
    said = line.get("version")
    if said == VERSION:
        raise BadArguments("", "a whole trace: stitch joins the files of recipes serve --trace")
    if said != PART_VERSION:
        raise BadArguments("", f"a trace of version {str(said)[:40]!r}: this program joins {PART_VERSION}")
    for key, type_ in _HEADER.items():
        if not isinstance(line.get(key), type_):
            raise BadArguments("", f"trace, line {number}: {key} = {line.get(key)!r}: expected {type_.__name__}")
    if line["site"] not in line["sites"]:
        raise BadArguments("", f"trace, line {number}: no site is called {line['site']!r}")
    for key in ("protocol", "site", "sites") if first else ():
        if line[key] != first[key]:
            raise BadArguments("", f"trace, line {number}: {key} is {line[key]!r} now, and was {first[key]!r}")


def _check(number: int, event: Event, expected: int, life: Life, sites: Mapping[str, Any]) -> None:
    kind = event.get("k")
    if not isinstance(kind, str) or kind not in _KINDS or life.end is not None:
        raise BadArguments("", f"trace, line {number}: k = {kind!r}: no kind of event that comes here")
    if (kind != "end" and event.get("i") != expected) or not is_time(event.get("t")):
        raise BadArguments("", f"trace, line {number}: expected event {expected}, with its time")
    for key, type_ in _NEEDED.get(kind, {}).items():
        if not isinstance(event.get(key), type_):
            raise BadArguments("", f"trace, line {number}: {key} = {event.get(key)!r}: expected {type_.__name__}")
    cause = event.get("cause", -1)
    if "cause" in event and not (isinstance(cause, int) and 0 <= cause < expected):
        raise BadArguments("", f"trace, line {number}: cause = {cause!r}: expected an earlier event")
    other = event["to"] if kind == "send" else event["from"] if kind in ("deliver", "gone") else None
    if other is not None and (other not in sites or other == life.site):
        raise BadArguments("", f"trace, line {number}: no other site is called {other!r}")
