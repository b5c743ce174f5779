"""Who stands in a line below one parent, and in which order: names and numbers, nothing else.

Sources: ZooKeeper Recipes and Solutions, Locks and Leader Election; RFC 1982 for the order of numbers that wrap.
"""

from collections.abc import Sequence
from functools import cmp_to_key
from typing import NamedTuple

_DIGITS = 10  # of the number that a server puts behind the name of a sequential znode


class Participant(NamedTuple):
    """Someone in line, as read from the store: true at the moment of reading, no longer than that."""

    id: str  # chosen anew for each acquire
    data: bytes
    fence: int  # czxid of the znode
    session_id: int
    since: float  # seconds since the epoch, by the server's wall clock, when the znode was made
    path: str


def in_order(names: Sequence[str], marker: str) -> list[str]:
    """Those of `names` that stand in the line of `marker`, first come first.

    Sequence numbers are a signed 32-bit counter, so they are compared as serial numbers (RFC 1982): after the
    wrap a newcomer still is last. Names made by others, which do not have our form, are left out.
    """
    numbered = [(int(tail), name) for name in names for tail in [_sequence_text(name, marker)] if tail]
    if len(numbered) > 1:
        numbered.sort(key=cmp_to_key(_compare))
    return [name for _, name in numbered]


def strangers(names: Sequence[str]) -> list[str]:
    """Those of `names` that are places in the line of another library.

    kazoo's are `<id>__lock__<number>`, Curator's `_c_<id>-lock-<number>`, those of older recipes `lock-<number>`: they
    have the number of a sequential znode at their end, and not our beginning.
    """
    return [name for name in names if not name.startswith("_r_") and _is_number(name[-_DIGITS:])]


def is_owner(name: str, order: Sequence[str], owner: int, session_id: int, now: float, expires_at: float) -> bool:
    """Whether `name` holds what the line is for: its znode exists, is the live session's, is first, and is in time.

    order: the line as last read. owner: ephemeralOwner of `name`. now, expires_at: the client's monotonic clock
    and the moment, on that clock, until which the session is sure to live.
    """
    return bool(order) and order[0] == name and owner == session_id and now < expires_at


def id_of(name: str, marker: str) -> str:
    """The id that the owner of the znode `name` chose."""
    return name.removeprefix("_r_").rpartition(f"-{marker}")[0]


def _sequence_text(name: str, marker: str) -> str:
    head, found, tail = name.rpartition(f"-{marker}")
    return tail if found and head.startswith("_r_") and tail.removeprefix("-").isdecimal() else ""


def _is_number(tail: str) -> bool:
    return len(tail) == _DIGITS and tail.removeprefix("-").isdecimal()


def _compare(a: tuple[int, str], b: tuple[int, str]) -> int:
    return (a[0] - b[0] + 0x80000000 & 0xFFFFFFFF) - 0x80000000
