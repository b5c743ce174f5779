"""Which items of a bucket may be claimed, and what each step of an item changes. Pure: it knows znode names only.

The names of a bucket's children are the whole state of its items, so one read shows everything:

    i-<number>         an item; the server gives the number, so numbers are in the order of commit
    d<due>-<number>    an item that was put with a delay: not before the server's clock shows `due` milliseconds
    c<number>          a claim on the item: ephemeral, so it goes with its consumer's session
    h<number>.<count>  the item has been handed out `count` times; one znode for each time
    w<number>.<due>    the last delivery failed, and the item waits: not before `due`

Each step below is a list of changes that are made together or not at all. An item's own znode never changes, so its
data can be read at any time. docs/queue.md has the table of states; tests/queue/test_claims.py executes it.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

# "check" | "create" | "claim" | "delete" | "outdate" | "check latest" | "delete latest", and a name within the bucket.
# The last two are refused once the znode is outdated.
Change = tuple[str, str]

DIGITS = 10  # length of the number that a server appends to the name of a sequential znode
_is_item = re.compile(rf"(?:i|d\d+)-\d{{{DIGITS}}}").fullmatch


class ListedItem(NamedTuple):
    """An item as a listing of its bucket showed it."""

    name: str
    deliveries: int = 0  # how often it has been handed out
    due_ms: int = 0  # 0: at once
    failed: bool = False  # whether `due_ms` comes from a failed delivery

    @property
    def number(self) -> str:
        """The server's number, which the names of the item's other znodes share."""
        return self.name[-DIGITS:]

    @property
    def claim(self) -> str:
        """The name of a claim on the item."""
        return "c" + self.name[-DIGITS:]


class Choice(NamedTuple):
    """What a listing of a bucket shows."""

    claimable: list[ListedItem]  # unclaimed items whose time has come, in the order of commit
    next_due_ms: int  # when the next delayed item is due; 0 if there is none
    claims: list[str]  # names of the existing claims
    items: int  # number of items, claimed and delayed ones included


def choose(names: Sequence[str], now_ms: int, want: int) -> Choice:
    """The first `want` items that may be claimed now. names: the bucket's children, sorted; now_ms: the server's clock.

    Claimed and delayed items are skipped, so they block nobody. Names in other forms are ignored.
    """
    items, claimed, counts, waits = _read(names)
    found: list[ListedItem] = []
    next_due = 0
    late = bool(waits) or _has_delayed(names)  # then items after the wanted ones can set `next_due_ms`
    for name in items:
        number = name[-DIGITS:]
        if number in claimed or not _is_item(name):
            continue
        due = waits.get(number, 0)
        failed = due > 0
        if not due and name[0] == "d":
            due = int(name[1 : -DIGITS - 1])
        if due > now_ms:
            next_due = min(next_due, due) if next_due else due
        elif len(found) < want:
            found.append(ListedItem(name, counts.get(number, 0), due, failed))
        elif not late:
            break
    return Choice(found, next_due, [f"c{number}" for number in claimed], len(items))


def survey(names: Sequence[str], now_ms: int) -> tuple[int, int, int]:
    """The numbers of waiting, delayed and claimed items of a bucket."""
    choice = choose(names, now_ms, len(names))
    items, claimed, _, _ = _read(names)
    taken = sum(name[-DIGITS:] in claimed for name in items)
    there = len(list(filter(_is_item, items)))
    return len(choice.claimable), there - taken - len(choice.claimable), taken


def item_name(due_ms: int) -> str:
    """The beginning of a new item's name; the server adds the number."""
    return f"d{due_ms}-" if due_ms else "i-"


def claim(item: ListedItem) -> list[Change]:
    """Claim an item for one session; refused if it is claimed, or its last counted delivery was taken back.

    An item that was never handed out may be gone: read it behind the claim, and return the claim if it is missing.
    """
    changes: list[Change] = [("check", _told(item))] if item.deliveries else []
    return [*changes, ("claim", item.claim)]


def hand_out(item: ListedItem) -> list[Change]:
    """Count one more delivery, with the claim or after it; refused if somebody else has been given the item."""
    changes: list[Change] = []
    if item.failed:
        changes.append(("delete", f"w{item.number}.{item.due_ms}"))
    if item.deliveries:
        changes.append(("outdate", _told(item)))
    # The znodes of earlier deliveries stay, so that a client with an older view of the item is refused. They are
    # outdated, so that a client that lost its claim cannot end the delivery of another one.
    return [*changes, ("create", _told(item, 1))]


def claim_and_hand_out(item: ListedItem) -> list[Change]:
    """Claim an item, and count its delivery; refused if it is gone, too."""
    changes = [*claim(item), *hand_out(item)]
    return changes if item.deliveries else [("check", item.name), *changes]


def hand_out_claimed(item: ListedItem) -> list[Change]:
    """`hand_out` after the claim; refused if the claim or the item is gone.

    The claim alone proves no item: this client may have lost it, and claimed the item again after others finished it.
    """
    there: list[Change] = [] if item.deliveries else [("check", item.name)]
    return [("check", item.claim), *there, *hand_out(item)]


def handed_out(item: ListedItem) -> str:
    """The name of the znode that `hand_out` creates."""
    return _told(item, 1)


def acknowledge(item: ListedItem) -> list[Change]:
    """Remove a finished item; refused without a claim, or if the item was handed out again or this delivery taken back.

    item: as before the hand-out.
    """
    last: list[Change] = [("delete", item.claim), ("delete latest", _told(item, 1))]
    return [*last, *_forget(item, item.deliveries), ("delete", item.name)]


def release(item: ListedItem) -> list[Change]:
    """Return a handed-out item to its place, with the delivery not counted. item: as before the hand-out."""
    return [("delete", item.claim), ("delete latest", _told(item, 1))]


def unclaim(item: ListedItem) -> list[Change]:
    """Return an item that was claimed and not handed out to its place."""
    return [("delete", item.claim)]


def retry(item: ListedItem, due_ms: int) -> list[Change]:
    """Return it to its place, the delivery counted, not to be claimed before `due_ms`. item: as before the hand-out."""
    stands: list[Change] = [("delete", item.claim), ("check latest", _told(item, 1))]
    return [*stands, ("create", f"w{item.number}.{due_ms}")] if due_ms else stands


def remove(item: ListedItem, *, claimed: bool) -> list[Change]:
    """Remove an item that is not handed out from the queue. claimed: by us; otherwise nobody has claimed it."""
    changes: list[Change] = [] if claimed else [("claim", item.claim)]
    changes.append(("delete", item.claim))
    if item.failed:
        changes.append(("delete", f"w{item.number}.{item.due_ms}"))
    # Refused if the item was handed out after the listing.
    unseen: list[Change] = [("create", _told(item, 1)), ("delete", _told(item, 1))]
    return [*changes, *unseen, *_forget(item, item.deliveries), ("delete", item.name)]


def may_bring_work(name: str, deleted: bool) -> bool:
    """Whether the creation or deletion of `name` in a bucket can make an item claimable, now or when it is due."""
    return name[:1] == "c" if deleted else name[:1] in ("i", "d", "w")


def retry_delay_ms(deliveries: int, shortest: float, longest: float) -> int:
    """Milliseconds that an item waits after its delivery number `deliveries` failed; doubling from `shortest`.

    shortest, longest: seconds.
    """
    return int(min(longest, shortest * 2.0 ** min(deliveries - 1, 60)) * 1000)


def _forget(item: ListedItem, deliveries: int) -> list[Change]:
    # The last one first: it is missing if that delivery was taken back, and then the multi is refused.
    return [("delete", f"h{item.number}.{count}") for count in range(deliveries, 0, -1)]


def _told(item: ListedItem, more: int = 0) -> str:
    return f"h{item.name[-DIGITS:]}.{item.deliveries + more}"


def _read(names: Sequence[str]) -> tuple[list[str], set[str], dict[str, int], dict[str, int]]:
    """Items in order, numbers of claimed items, and by number the count of deliveries and the end of the wait."""
    claims, delayed, history, others = (bisect_left(names, kind) for kind in "cdhi")
    waits, end = bisect_left(names, "w"), bisect_left(names, "x")
    claimed = {name[1:] for name in names[claims:delayed]}
    counts: dict[str, int] = {}
    for number, count in _pairs(names[history:others]):
        counts[number] = max(count, counts.get(number, 0))
    items = list(names[others:waits])  # in order already
    if history > delayed:
        items += names[delayed:history]
        items.sort(key=lambda name: name[-DIGITS:])
    return items, claimed, counts, dict(_pairs(names[waits:end]))


def _pairs(names: Sequence[str]) -> list[tuple[str, int]]:
    return [
        (number, int(value)) for name in names for number, _, value in [name[1:].partition(".")] if value.isdecimal()
    ]


def _has_delayed(names: Sequence[str]) -> bool:
    return bisect_left(names, "d") < bisect_left(names, "e")
