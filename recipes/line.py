"""Who stands in a line below one parent, in which order, and who of them holds: names and numbers, nothing else.

A line is for permits, of which so many are to be had together. A lock and a writer take all there are, a reader takes
one of very many, and whoever asks a semaphore takes as many as it says. So one rule serves them all: first come, first
served, as long as what those in front take leaves enough.

Sources: ZooKeeper Recipes and Solutions, Locks, Shared Locks and Leader Election; RFC 1982 for the order of numbers
that wrap.
"""

import re
from collections.abc import Collection, Sequence
from functools import cmp_to_key
from operator import itemgetter
from typing import NamedTuple

from recipes.naming import MARKERS, form_of, is_native, theirs

DIGITS = 10  # of the number that a server puts behind the name of a sequential znode
_KIND = re.compile(r".*-(lock|lead|read|write|permits|member)-(?:([0-9]+)-)?-?[0-9]+", re.DOTALL)

ALL = 1 << 31  # permits: what a lock and a writer take, and more than a semaphore can have


class Participant(NamedTuple):
    """Someone in line, as read from the store: true at the moment of reading, no longer than that.

    kind: "lock", "lead", "read", "write", "permits" or "member". permits: how many of a semaphore, 1 for others.
    revoke_requested: whether somebody asked it to give up what it has. weight: of a candidate, 0 for others.
    """

    id: str  # chosen anew for each acquire
    data: bytes
    fence: int  # what its grant shows: czxid of the znode, or of the one that a downgrade replaced by it
    session_id: int
    since: float  # seconds since the epoch, by the server's wall clock, when the znode was made
    path: str
    kind: str = "lock"
    permits: int = 1
    revoke_requested: bool = False
    weight: int = 0


class Standing(NamedTuple):
    """What a line means for one who stands in it.

    holds: whether what it asks for is its own. behind: the one in front to watch, which must leave, or get what it
    waits for, before it can be our turn; "" when it may be the end of any that is in front, or when none is.
    """

    holds: bool
    behind: str = ""


def standing(name: str, order: Sequence[str], limit: int = ALL, most: int = ALL) -> Standing:
    """Whether `name` holds, given the line as it was at one moment; this is the only rule there is.

    It holds when it fits within the limit together with all that are in front of it, those that wait included, so that
    nobody overtakes. Nobody behind it counts.

    order: everybody in line, first come first. limit: the permits to be had together. most: the highest limit that
    there ever was, which tells who in front may hold since before it went down.
    """
    own = permits_of(name)
    if name not in order:
        return Standing(False)
    place = order.index(name)
    if own >= limit:  # with anybody in front it does not fit
        return Standing(place == 0 and own <= limit, order[place - 1] if place else "")
    taken = 0
    excluding = ""
    for each in order[:place]:
        theirs = permits_of(each)
        taken += theirs
        if theirs + own > limit:
            excluding = each
    if taken + own <= limit:
        return Standing(True)
    if excluding:
        return Standing(False, excluding)
    # Several in front hold together, and any of them may leave first. One that certainly waits itself is told of that,
    # and passes it on when it gets its turn.
    return Standing(False, order[place - 1] if taken > most else "")


def holding(order: Sequence[str], limit: int = ALL, kept: Collection[str] = ()) -> int:
    """How many at the head of the line hold.

    kept: the numbers, at the end of their names, of those that hold since before the limit went down.
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
    """Whether `name` holds what the line is for: its znode exists, is the live session's, stands so, and is in time.

    order: the line as last read. owner: ephemeralOwner of `name`. now, expires_at: the client's monotonic clock
    and the moment, on that clock, until which the session is sure to live. limit: see `standing`.
    """
    return owner == session_id and now < expires_at and standing(name, order, limit).holds


def in_order(names: Sequence[str], marker: str | tuple[str, ...]) -> list[str]:
    """Those of `names` that stand in the line of `marker`, or of one of several, first come first.

    Sequence numbers are a signed 32-bit counter, so they are compared as serial numbers (RFC 1982): after the
    wrap a newcomer still is last. Names made by others, which do not have our form, are left out.
    """
    match = form_of((marker,) if isinstance(marker, str) else marker).fullmatch
    numbered = [(int(found[1]), name) for name in names if (found := match(name))]
    if len(numbered) > 1:
        numbers = [number for number, _ in numbered]
        near = max(numbers) - min(numbers) < 0x80000000  # unless they wrap, their own order is meant
        numbered.sort(key=itemgetter(0) if near else cmp_to_key(_compare))
    return [name for _, name in numbered]


def kind_of(name: str) -> str:
    """What the owner of the znode `name` asks for: "lock", "lead", "read", "write", "permits" or "member"."""
    found = _KIND.fullmatch(name)
    if found:
        return found[1]
    place = theirs(name)
    return place.kind if place else ""


def permits_of(name: str) -> int:
    """How many permits the owner of the znode `name` asks for."""
    found = _KIND.fullmatch(name)
    if found is None:
        return 1 if kind_of(name) in ("read", "permits") else ALL  # by another library's names
    if found[1] not in ("read", "permits"):
        return ALL
    return int(found[2] or 1)


def place_behind(name: str, kind: str, fence: int) -> str:
    """The name of a znode that takes the place of `name` in line, for another kind; `fence` is its owner's.

    The names of other libraries have no room for the fence.
    """
    place = theirs(name)
    if place is not None:
        naming = "kazoo" if place.is_kazoos else "curator"
        head = name.removesuffix(place.number).removesuffix(place.marker).removesuffix("-")
        return f"{head}{MARKERS[naming][kind]}{place.number}"
    head, _, number = name.rpartition(f"-{kind_of(name)}-")
    return f"{head}.{fence:x}-{kind}-{number}"


def fence_of(name: str) -> int:
    """The fence that the znode `name` inherited from the one whose place it took; 0 when it has its own."""
    if not name.startswith("_r_"):
        return 0
    label = id_of(name, f"{kind_of(name)}-").rpartition(".")
    return int(label[2], 16) if label[1] else 0


def strangers(names: Sequence[str], marker: str) -> list[str]:
    """Those of `names` that are places in another line than that of `marker`, by another library's rules.

    They have the number of a sequential znode at their end, and not the beginning or the marker of those in line.
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
