"""Who takes no turn, and what candidates tell one another by marks behind the data of a znode: pure.

Who leads is the first in line, as `line.standing` has it, whatever candidates weigh. Weights and hand-overs only say
who does not take its turn and goes to the end of the line instead. So candidates that know nothing of them agree with
those that do, and along the line fences grow.
"""

import re
from collections.abc import Sequence

from recipes.line import Participant

MARKER = "lead-"  # in the names of candidates; behind it the weight, where there is one, and the number
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
    """Whether the candidate `name` goes to the end of the line `order` instead of waiting for its turn, or taking it.

    stored: the data of its znode, with their mark. It does so when somebody weighs more and it is its turn, unless it
    was appointed; and when it was asked to, as long as somebody is in front of it, which is to ask.
    """
    if name not in order:
        return False
    if order[0] != name:
        return stored.endswith(_ASKED)
    return outweighed(name, order) and not stored.removesuffix(_ASKED).endswith(_APPOINTED)


def in_between(name: str, order: Sequence[str]) -> list[str]:
    """Who stands behind the first in line and in front of `name`."""
    return list(order[1 : order.index(name)]) if name in order else []


def ask(data: bytes) -> bytes:
    """The data of a candidate that is asked to give way: one that waits at once, one that leads by its `min_hold`.

    That it was appointed stays: somebody that weighs more may ask just as its turn comes.
    """
    return data.removesuffix(_ASKED) + _ASKED


def appoint(data: bytes) -> bytes:
    """The data of a candidate that is to lead next, whatever others weigh."""
    return unmarked(data) + _APPOINTED


def is_asked(data: bytes) -> bool:
    """Whether the candidate with these data is asked to give way."""
    return data.endswith(_ASKED)


def unmarked(data: bytes) -> bytes:
    """What the candidate wrote itself."""
    return data.removesuffix(_ASKED).removesuffix(_APPOINTED)


def as_candidate(who: Participant) -> Participant:
    """What the znode of a candidate says: its data without marks, its weight, whether it is asked to give way."""
    return who._replace(
        data=unmarked(who.data),
        weight=weight_of(who.path.rpartition("/")[2]),
        revoke_requested=who.revoke_requested or is_asked(who.data),
    )
