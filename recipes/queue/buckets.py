"""Items are in buckets of about a thousand each, so that no child list gets long.

A bucket is named `<priority>-<number>`. New items go into the last bucket of their priority. A bucket is open while its
znode has version 0, and every put checks that. One multi closes a bucket and creates the next. So no item enters a
bucket after the next bucket has an item: the order of the buckets, and of the numbers in them, is the order of commit.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recipes.core import paths
from recipes.core.errors import NoNode
from recipes.queue.claims import DIGITS, Change

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.multi import Multi
    from recipes.writer import Operation

LOWEST, HIGHEST = 0, 999  # priorities; the lowest number goes first
BUCKET_SIZE = 1_000  # the bucket closes when an item's number, which counts all creates in it, reaches this

_CLOSED = b"closed"


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

    async def place(self, priority: int) -> tuple[str, "list[Operation]"]:
        """The bucket for a new item, and the operations that must come before its creation in the same multi.

        If one of these operations is refused, call `forget` and ask again.
        """
        if priority not in self._open:
            names = await self.names()
            # Another task may have set it meanwhile.
            self._open.setdefault(priority, (last_number(names, priority), False))
        number, full = self._open[priority]
        path = self.path(bucket_name(priority, max(number, 0)))
        if number >= 0 and not full:
            return bucket_name(priority, number), [check(path, 0)]
        following = bucket_name(priority, number + 1)
        operations = [create(self.path(following))]
        if number >= 0:
            operations.insert(0, replace(path, _CLOSED, 0))
        self._open[priority] = number + 1, False  # later puts use the new bucket, and are committed later
        return following, operations

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

    def operations(self, bucket: str, changes: Sequence[Change], data: bytes = b"") -> "list[Operation]":
        """Changes within a bucket as operations of a multi. data: of a claim."""
        start = f"{self.folder}/{bucket}/"
        return [_operation(kind, start + name, data) for kind, name in changes]


def check(path: str, version: int = -1) -> "Operation":
    """An operation that fails unless the znode exists and has this version (-1: any)."""
    return lambda multi: multi.check(path, version)


def create(path: str, data: bytes = b"", *, sequential: bool = False, ephemeral: bool = False) -> "Operation":
    """An operation that creates a znode."""

    def operation(multi: "Multi") -> None:
        multi.create(path, data, sequential=sequential, ephemeral=ephemeral)

    return operation


def delete(path: str, version: int = -1) -> "Operation":
    """An operation that deletes a znode."""
    return lambda multi: multi.delete(path, version)


def replace(path: str, data: bytes, version: int = -1) -> "Operation":
    """An operation that replaces a znode's data."""
    return lambda multi: multi.set(path, data, version)


def check_priority(path: str, priority: object) -> None:
    """Raise ValueError or TypeError unless `priority` is valid."""
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise TypeError(f"priority: expected a whole number, not {priority!r}")
    if not LOWEST <= priority <= HIGHEST:
        raise ValueError(f"priority={priority} at {paths.check(path)}: expected {LOWEST} to {HIGHEST}, lowest first")


def _operation(kind: str, path: str, data: bytes) -> "Operation":
    if kind == "delete":
        return lambda multi: multi.delete(path)
    if kind == "check":
        return lambda multi: multi.check(path)
    if kind == "outdate":
        return lambda multi: multi.set(path, b"")
    if kind == "check latest":
        return lambda multi: multi.check(path, 0)
    if kind == "delete latest":
        return lambda multi: multi.delete(path, 0)
    if kind == "claim":
        return lambda multi: multi.create(path, data, ephemeral=True)
    return lambda multi: multi.create(path)
