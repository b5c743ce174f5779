"""The line below one parent: its order, and which places in it hold. Pure: it knows names and numbers only.

A line gives out a limited number of permits. A lock or a writer takes all of them, a reader takes one of very many, and
a user of a semaphore takes the number it asks for. So one rule serves all: first come, first served, as long as the
places in front leave enough permits.

Sources: ZooKeeper Recipes and Solutions, Locks, Shared Locks and Leader Election; RFC 1982 for the order of numbers
that wrap.
"""

import re
from collections.abc import Collection, Sequence
from functools import cmp_to_key
from operator import itemgetter
from typing import NamedTuple

from recipes.naming import MARKERS, form_of, is_native, theirs

DIGITS = 10  # length of the number that a server appends to the name of a sequential znode
_KIND = re.compile(r".*-(lock|lead|read|write|permits|member)-(?:([0-9]+)-)?-?[0-9]+", re.DOTALL)

ALL = 1 << 31  # the permits of a lock or a writer, more than any semaphore has


class Participant(NamedTuple):
    """A place in line and its owner, as read from the store; it may be outdated as soon as it was read.

    kind: "lock", "lead", "read", "write", "permits" or "member". permits: how many of a semaphore, 1 for others.
    revoke_requested: whether somebody asked it to give up what it has. weight: of a candidate, 0 for others.
    """

    id: str  # chosen anew for each acquire
    data: bytes
    fence: int  # the fence of its grant: czxid of the znode, or, after a downgrade, of the znode before it
    session_id: int
    since: float  # seconds since the epoch, by the server's wall clock, when the znode was made
    path: str
    kind: str = "lock"
    permits: int = 1
    revoke_requested: bool = False
    weight: int = 0


class Standing(NamedTuple):
    """Whether a place in line holds, and if not, what to wait for.

    holds: whether it has what it asks for. behind: the name in front to watch, whose owner must leave, or must get what
    it waits for, before it can be our turn; "" if the end of any place in front may be enough, or if none is in front.
    """

    holds: bool
    behind: str = ""


_HOLDS = Standing(True)


def standing(name: str, order: Sequence[str], limit: int = ALL, most: int = ALL) -> Standing:
    """Whether `name` holds, given the line as it was at one moment. All recipes use this one rule.

    A place holds when the permits of all places in front of it plus its own are within the limit. Places in front that
    wait count as well, so that nobody overtakes. Places behind do not count.

    order: all names in line, in order of arrival. limit: the number of permits. most: the highest limit there ever was:
    a place in front may hold since before the limit went down.
    """
    if limit >= ALL and order and order[0] == name:
        return _HOLDS  # most locks are free: the name need not be taken apart
    own = permits_of(name)
    if name not in order:
        return Standing(False)
    place = order.index(name)
    if own >= limit:  # it cannot hold together with any other place
        return Standing(place == 0 and own <= limit, order[place - 1] if place else "")
    taken = 0
    excluding = ""
    for each in order[:place]:
        theirs = permits_of(each)
        taken += theirs
        if theirs + own > limit:
            excluding = each
    if taken + own <= limit:
        return _HOLDS
    if excluding:
        return Standing(False, excluding)
    # Several places in front hold together, and any of them may leave first. If the place just in front certainly waits
    # as well, watch only that one: it passes a sign on when it gets its turn.
    return Standing(False, order[place - 1] if taken > most else "")


def holding(order: Sequence[str], limit: int = ALL, kept: Collection[str] = ()) -> int:
    """How many places at the head of the line hold.

    kept: sequence numbers (the end of the names) of places that hold since before the limit went down.
    """
    taken = 0
    for count, name in enumerate(order):
        taken += permits_of(name)
        if taken > limit and name[-DIGITS:] not in kept:
            return count
    return len(order)


def is_owner(
    name: str, order: Sequence[str], owner: int, session_id: int, now: float, expires_at: float, limit: int = ALL
) -> bool:
    """Whether `name` holds: its znode is in line and far enough in front, and our session owns it and surely lives.

    order: the line as last read. owner: ephemeralOwner of `name`. now: the client's monotonic clock. expires_at: the
    time on that clock until which the session is sure to live. limit: see `standing`.
    """
    return owner == session_id and now < expires_at and standing(name, order, limit).holds


def in_order(names: Sequence[str], marker: str | tuple[str, ...]) -> list[str]:
    """The `names` in the line of `marker` (one or several), in order of arrival; other names are left out.

    Sequence numbers are a signed 32-bit counter, so they are compared as serial numbers (RFC 1982): after the
    wrap a newcomer is still last.
    """
    match = form_of((marker,) if isinstance(marker, str) else marker).fullmatch
    numbered = [(int(found[1]), name) for name in names if (found := match(name))]
    if len(numbered) > 1:
        numbers = [number for number, _ in numbered]
        near = max(numbers) - min(numbers) < 0x80000000  # otherwise the numbers have wrapped
        numbered.sort(key=itemgetter(0) if near else cmp_to_key(_compare))
    return [name for _, name in numbered]


def kind_of(name: str) -> str:
    """What the znode `name` asks for: "lock", "lead", "read", "write", "permits" or "member"; "" for other names."""
    found = _KIND.fullmatch(name)
    if found:
        return found[1]
    place = theirs(name)
    return place.kind if place else ""


def permits_of(name: str) -> int:
    """How many permits the znode `name` asks for."""
    found = _KIND.fullmatch(name)
    if found is None:
        return 1 if kind_of(name) in ("read", "permits") else ALL  # in another library's naming
    if found[1] not in ("read", "permits"):
        return ALL
    return int(found[2] or 1)


def place_behind(name: str, kind: str, fence: int) -> str:
    """The name of a znode of another kind that takes the place of `name` in line, and keeps its owner's `fence`.

    Names of other libraries cannot carry the fence.
    """
    place = theirs(name)
    if place is not None:
        naming = "kazoo" if place.is_kazoos else "curator"
        head = name.removesuffix(place.number).removesuffix(place.marker).removesuffix("-")
        return f"{head}{MARKERS[naming][kind]}{place.number}"
    head, _, number = name.rpartition(f"-{kind_of(name)}-")
    return f"{head}.{fence:x}-{kind}-{number}"


def fence_of(name: str) -> int:
    """The fence that the znode `name` inherited from the znode it replaced; 0 if it has a fence of its own."""
    if not name.startswith("_r_"):
        return 0
    label = id_of(name, f"{kind_of(name)}-").rpartition(".")
    return int(label[2], 16) if label[1] else 0


def strangers(names: Sequence[str], marker: str) -> list[str]:
    """The `names` that look like places of another library, which does not share the line of `marker`.

    They end with the number of a sequential znode, and lack the beginning or the marker of names in this line.
    """
    if is_native(marker):
        return [name for name in names if not name.startswith("_r_") and _is_number(name[-DIGITS:])]
    match = form_of((marker,)).fullmatch
    return [name for name in names if _is_number(name[-DIGITS:]) and not theirs(name) and not match(name)]


def id_of(name: str, marker: str) -> str:
    """The id that the owner of the znode `name` chose."""
    place = theirs(name)
    return place.id if place else name.removeprefix("_r_").rpartition(f"-{marker}")[0]


def _is_number(tail: str) -> bool:
    return len(tail) == DIGITS and tail.removeprefix("-").isdecimal()


def _compare(a: tuple[int, str], b: tuple[int, str]) -> int:
    return (a[0] - b[0] + 0x80000000 & 0xFFFFFFFF) - 0x80000000
