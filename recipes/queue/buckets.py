"""Items are in buckets of about a thousand each, so that no child list gets long.

A bucket is named `<priority>-<number>`. New items go into the last bucket of their priority. A bucket is open while its
znode has version 0, and every put checks that. One multi closes a bucket and creates the next. So no item enters a
bucket after the next bucket has an item: the order of the buckets, and of the numbers in them, is the order of commit.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from recipes.core import paths
from recipes.core.client.multi import path_end
from recipes.core.errors import NoNode
from recipes.queue.claims import DIGITS, Change, ListedItem, item_name

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.multi import Multi

LOWEST, HIGHEST = 0, 999  # priorities; the lowest number goes first
BUCKET_SIZE = 1_000  # the bucket closes when an item's number, which counts all creates in it, reaches this

Step = Callable[[ListedItem], list[Change]]

_CLOSED = b"closed"
_NEW = item_name(0)  # begins the name of an item that was put without a delay
_NUMBER = "#" * DIGITS  # stands for an item's number
_MOST_PATTERNS = 64


def bucket_name(priority: int, number: int) -> str:
    """A bucket's name; names sort in the order in which their items are taken."""
    return f"{priority:03d}-{number:010d}"


def last_number(names: Sequence[str], priority: int) -> int:
    """The number of the last bucket of `priority` among sorted `names`; -1 if there is none."""
    end = bisect_left(names, f"{priority:03d}.")  # "." is the character after "-"
    last = names[end - 1] if end else ""
    return int(last[4:]) if last.startswith(f"{priority:03d}-") and last[4:].isdecimal() else -1


def is_last(names: Sequence[str], at: int) -> bool:
    """Whether the bucket at index `at` of the sorted `names` is the last of its priority, and so the open one."""
    return at + 1 == len(names) or names[at + 1][:4] != names[at][:4]


class Buckets:
    """The buckets below `folder`, and which of them are open as far as this client knows."""

    def __init__(self, client: "Client", folder: str) -> None:
        self.folder = folder
        self._client = client
        self._patterns: dict[tuple[str, Step, bytes], Pattern] = {}  # of steps within a bucket, with the claim's data
        self._open: dict[int, tuple[int, bool]] = {}  # priority -> number of the last bucket, and whether it is full

    def path(self, bucket: str, name: str = "") -> str:
        """The path of a bucket, or of a znode in it."""
        return f"{self.folder}/{bucket}/{name}" if name else f"{self.folder}/{bucket}"

    async def names(self) -> list[str]:
        """The names of the buckets, sorted."""
        try:
            return [name for name in await self._client.children(self.folder) if name[3:4] == "-"]
        except NoNode:
            return []

    async def place(self, priority: int) -> "tuple[str, Multi]":
        """The bucket for a new item, and the operations that must come before its creation in the same multi.

        If one of these operations is refused, call `forget` and ask again.
        """
        if priority not in self._open:
            names = await self.names()
            # Another task may have set it meanwhile.
            self._open.setdefault(priority, (last_number(names, priority), False))
        number, full = self._open[priority]
        path = self.path(bucket_name(priority, max(number, 0)))
        multi = self._client.multi()
        if number >= 0 and not full:
            multi.check(path, 0)
            return bucket_name(priority, number), multi
        if number >= 0:
            multi.set(path, _CLOSED, 0)
        following = bucket_name(priority, number + 1)
        multi.create(self.path(following))
        self._open[priority] = number + 1, False  # later puts use the new bucket, and are committed later
        return following, multi

    def put(self, created: str) -> None:
        """An item was created at the path `created`."""
        bucket, _, name = created.rpartition("/")
        priority, _, number = bucket.rpartition("/")[2].partition("-")
        known = self._open.get(int(priority))
        if int(name[-DIGITS:]) >= BUCKET_SIZE and known == (int(number), False):
            self._open[int(priority)] = int(number), True

    def forget(self, priority: int) -> None:
        """Forget the known bucket of this priority: it is out of date."""
        self._open.pop(priority, None)

    def operations(self, bucket: str, changes: Sequence[Change], data: bytes = b"") -> "Multi":
        """Changes within a bucket, as a multi that is not sent. data: of a claim."""
        multi = self._client.multi()
        start = f"{self.folder}/{bucket}/"
        for kind, name in changes:
            _add(multi, kind, start + name, data)
        return multi

    def step(self, bucket: str, item: ListedItem, changes: Step, data: bytes = b"") -> "Multi":
        """A step of one item, as a multi that is not sent. changes: of this step, see claims.py. data: of a claim.

        Nearly all items are new ones, whose steps differ in nothing but the item's number. So such a step is encoded
        once for each bucket.
        """
        if item.deliveries or item.due_ms or item.name[:-DIGITS] != _NEW:
            return self.operations(bucket, changes(item), data)
        pattern = self._patterns.get((bucket, changes, data))
        if pattern is None:
            if len(self._patterns) >= _MOST_PATTERNS:
                self._patterns.clear()
            example = changes(ListedItem(_NEW + _NUMBER))
            pattern = self._patterns[bucket, changes, data] = Pattern(self.operations(bucket, example, data), example)
        multi = self._client.multi()
        multi.append(pattern.encoded(item.name[-DIGITS:]), pattern.count)
        return multi


class Pattern:
    """A step, encoded except for the number of its item.

    multi: the step for an item with _NUMBER as its number. example: the same as changes.
    """

    __slots__ = ("_between", "count")

    def __init__(self, multi: "Multi", example: Sequence[Change]) -> None:
        self.count: int = multi.count
        # Only the number in the znode's name is meant: the path before it and the data after it may have the same text.
        self._between = [b""]
        for piece, (_, name) in zip(multi.encoded, example, strict=True):
            at = path_end(piece) - len(name) + name.index(_NUMBER)
            self._between[-1] += piece[:at]
            self._between.append(piece[at + DIGITS :])

    def encoded(self, number: str) -> bytes:
        """The operations for the item with this number."""
        return number.encode().join(self._between)


def check_priority(path: str, priority: object) -> None:
    """Raise ValueError or TypeError unless `priority` is valid."""
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise TypeError(f"priority: expected a whole number, not {priority!r}")
    if not LOWEST <= priority <= HIGHEST:
        raise ValueError(f"priority={priority} at {paths.check(path)}: expected {LOWEST} to {HIGHEST}, lowest first")


def _add(multi: "Multi", kind: str, path: str, data: bytes) -> None:
    if kind == "delete":
        multi.delete(path)
    elif kind == "check":
        multi.check(path)
    elif kind == "outdate":
        multi.set(path, b"")
    elif kind == "check latest":
        multi.check(path, 0)
    elif kind == "delete latest":
        multi.delete(path, 0)
    elif kind == "claim":
        multi.create(path, data, ephemeral=True)
    else:
        multi.create(path)
