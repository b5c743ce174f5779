"""Weights: which candidate gives up its turn, and the marks with which candidates ask one another. Pure.

The leader is always the first in line, by `line.standing`, whatever the weights. Weights and hand-overs only decide
which candidate moves to the end of the line instead of taking its turn. So candidates that do not know of weights agree
with those that do, and fences grow along the line.
"""

import re
from collections.abc import Sequence

from recipes.line import Participant

MARKER = "lead-"  # in the names of candidates, followed by the weight, if any, and the number
MOST = 1_000_000_000  # the highest weight

_WEIGHT = re.compile(r".*-lead-([0-9]+)--?[0-9]+", re.DOTALL)
_ASKED = b"\0asked to give way"
_APPOINTED = b"\0appointed to lead"


def weight_of(name: str) -> int:
    """The weight of the candidate that owns the znode `name`."""
    found = _WEIGHT.fullmatch(name)
    return int(found[1]) if found else 0


def outweighed(name: str, order: Sequence[str]) -> bool:
    """Whether somebody behind `name` in line weighs more."""
    return name in order and any(weight_of(each) > weight_of(name) for each in order[order.index(name) + 1 :])


def gives_way(name: str, order: Sequence[str], stored: bytes) -> bool:
    """Whether the candidate `name` moves to the end of the line `order` instead of waiting for its turn or taking it.

    stored: the data of its znode, with marks. A candidate gives way in two cases:

    - It is its turn, somebody behind it weighs more, and it was not appointed.
    - It was asked to, and is not the first in line: only a candidate in front of it has reason to ask.
    """
    if name not in order:
        return False
    if order[0] != name:
        return stored.endswith(_ASKED)
    return outweighed(name, order) and not stored.removesuffix(_ASKED).endswith(_APPOINTED)


def in_between(name: str, order: Sequence[str]) -> list[str]:
    """The names between the first in line and `name`."""
    return list(order[1 : order.index(name)]) if name in order else []


def ask(data: bytes) -> bytes:
    """The data that ask a candidate to give way: a waiting one at once, a leader after its `min_hold`.

    This keeps an appointment, because a heavier candidate may ask just as the appointed one is about to lead.
    """
    return data.removesuffix(_ASKED) + _ASKED


def appoint(data: bytes) -> bytes:
    """The data that appoint a candidate to lead next, whatever the weights."""
    return unmarked(data) + _APPOINTED


def is_asked(data: bytes) -> bool:
    """Whether the candidate with these data is asked to give way."""
    return data.endswith(_ASKED)


def unmarked(data: bytes) -> bytes:
    """The candidate's own data, without marks."""
    return data.removesuffix(_ASKED).removesuffix(_APPOINTED)


def as_candidate(who: Participant) -> Participant:
    """The participant as a candidate: its data without marks, its weight, whether it is asked to give way."""
    return who._replace(
        data=unmarked(who.data),
        weight=weight_of(who.path.rpartition("/")[2]),
        revoke_requested=who.revoke_requested or is_asked(who.data),
    )
