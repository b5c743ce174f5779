"""Reads and writes of several znodes as if nobody else had done anything meanwhile: optimistic transactions.

Reads go to the server as they come, writes are kept back. At the end one multi checks that all that was read still
holds, and makes the writes. Where it does not hold, nothing is written, and everything is done again. ZooKeeper can
check a znode's version. That a znode is missing is checked by making and deleting it, and that no child was added by
making a sequential one: it gets the number that was to come only if none was made since, and is deleted by that name.
Sources: Shavit and Touitou, Software Transactional Memory, 1995; etcd's client/v3/concurrency/stm.go; the numbers:
PrepRequestProcessor.java.
"""

import inspect
from collections.abc import Awaitable, Callable, Collection, Sequence
from random import Random
from typing import NamedTuple, TypeVar

import anyio
import anyio.lowlevel

from recipes.core import paths
from recipes.core.client.backoff import pauses
from recipes.core.client.call import Call
from recipes.core.client.multi import Multi, Outcome
from recipes.core.client.namespace import Namespace
from recipes.core.errors import (
    BadArguments,
    BadVersion,
    ConnectionLoss,
    NodeExists,
    NoNode,
    SessionError,
    UpdateConflict,
)
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.codec import text
from recipes.core.jute.records import ACL, Stat, decode_stat

R = TypeVar("R")

_SHORTEST_PAUSE = 0.002  # seconds, after the second conflict; it doubles
_LONGEST_PAUSE = 0.5


class _Children(NamedTuple):
    names: list[str]
    made: int  # how many were ever made


class Transaction:
    """What `fn` of `client.atomically(fn)` reads and writes through.

    It sees its own writes. A path that is read again gives what it gave the first time, and costs nothing. Reads raise
    what those of the client do. Writes raise BadArguments and TypeError at once, and what a server refuses at the end.
    """

    def __init__(self, namespace: Namespace, random: Random) -> None:
        self._namespace: Namespace = namespace
        self._random: Random = random
        self._over: bool = False
        self._stale: bool = False  # two reads contradict each other
        self._versions: dict[str, int] = {}  # of each path that was found
        self._data: dict[str, bytes] = {}
        self._missing: set[str] = set()
        self._absent: dict[str, None] = {}  # what has to be missing in the end: the highest one above each
        self._listed: dict[str, _Children] = {}
        self._writes: Multi = Multi(namespace)
        self._written: dict[str, bytes | None] = {}  # what the writes make of each path; None where they delete it
        self._made: set[str] = set()
        self._makes: dict[str, int] = {}  # paths that are made before anything else is done to them, by which write
        self._count: int = 0

    async def get(self, path: str) -> bytes:
        """The data. Raises NoNode, NoAuth."""
        self._refuse_over()
        if path in self._written:
            written = self._written[path]
            if written is None:
                raise NoNode(path)
            return written
        if path in self._missing:
            raise NoNode(path)
        if path not in self._data:
            try:
                data, stat = await self._ask(op.GET_DATA, path, _data_stat)
            except NoNode:
                await self._not_found(path)
                raise
            self._found(path, stat.version)
            self._data[path] = data
        return self._data[path]

    async def exists(self, path: str) -> bool:
        """Whether there is such a znode. Checking in the end that there is none takes permission to create it."""
        self._refuse_over()
        if path in self._written:
            return self._written[path] is not None
        if path not in self._missing and path not in self._versions:
            try:
                stat = await self._ask(op.EXISTS, path, _stat)
            except NoNode:
                await self._not_found(path)
            else:
                self._found(path, stat.version)
        return path not in self._missing

    async def children(self, path: str) -> list[str]:
        """Names of the children, sorted. Raises NoNode, NoAuth.

        Checking in the end that they are all there still, and no others, takes an operation for each, and permission to
        create a child.
        """
        self._refuse_over()
        names: set[str] = set()
        if self._written.get(path, b"") is None or (path in self._missing and path not in self._made):
            raise NoNode(path)
        if path not in self._made:
            if path not in self._listed:
                try:
                    self._listed[path] = await self._ask(op.GET_CHILDREN2, path, _children)
                except NoNode:
                    await self._not_found(path)
                    raise
            names.update(self._listed[path].names)
        for written, data in self._written.items():
            above, _, name = written.rpartition("/")
            if (above or "/") == path and name:
                (names.discard if data is None else names.add)(name)
        return sorted(names)

    def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, acl: Sequence[ACL] | None = None
    ) -> None:
        """Create a znode. In the end NodeExists and NoNode (its parent) are raised, unless `fn` read otherwise."""
        self._refuse_over()
        self._writes.create(path, data, ephemeral=ephemeral, acl=acl)
        if path not in self._written:
            self._makes[path] = self._count
        self._made.add(path)
        self._wrote(path, bytes(data))

    def set(self, path: str, data: bytes) -> None:
        """Replace the data. In the end NoNode is raised where there is no such znode, unless `fn` read otherwise."""
        self._refuse_over()
        self._writes.set(path, data)
        self._wrote(path, bytes(data))

    def delete(self, path: str) -> None:
        """Delete a znode. In the end NoNode and NotEmpty are raised, unless `fn` read otherwise."""
        self._refuse_over()
        self._writes.delete(path)
        self._wrote(path, None)

    async def _commit(self) -> bool:
        """Called at the end: whether all that was read held at one moment, at which the writes were made."""
        self._over = True
        if self._stale:
            return False
        facts = len(self._versions) + len(self._absent) + len(self._listed)
        if not self._count and facts <= 1:
            return True  # a single reading is of one moment anyway
        multi, may_conflict = self._guards()
        guards = multi.count
        multi.extend(self._writes)
        return await self._send(multi, {*range(guards), *(guards + index for index in may_conflict)}, self._count > 0)

    async def _holds(self) -> bool:
        """Called when `fn` raised: whether what it read held at one moment. Nothing is written."""
        self._over = True
        if self._stale or len(self._versions) + len(self._absent) + len(self._listed) <= 1:
            return not self._stale
        self._makes.clear()
        multi, _ = self._guards()
        return await self._send(multi, range(multi.count), False)

    async def _send(self, multi: Multi, may_conflict: Collection[int], writes: bool) -> bool:
        try:
            outcome: Outcome = await multi.start().result()
        except ConnectionLoss:
            if writes:
                raise
            return False
        if outcome.error is None:
            return True
        if outcome.failed_at in may_conflict and isinstance(outcome.error, BadVersion | NoNode | NodeExists):
            return False
        raise outcome.error

    def _guards(self) -> tuple[Multi, list[int]]:
        """What checks the readings, and which of the writes do so as well."""
        multi = Multi(self._namespace)
        may_conflict = []
        for path, version in self._versions.items():
            multi.check(path, version)
        for path, (names, made) in self._listed.items():
            for name in names:
                multi.check(paths.join(path, name))
            guard = paths.join(path, f"guard-{self._random.getrandbits(64):016x}-")
            multi.create(guard, sequential=True)
            multi.delete(f"{guard}{made:010d}")
        for path in self._absent:  # last: each counts as a child that was made
            if path in self._makes:
                may_conflict.append(self._makes[path])
            else:
                multi.create(path)
                multi.delete(path)
        return multi, may_conflict

    def _found(self, path: str, version: int) -> None:
        if self._versions.setdefault(path, version) != version or path in self._missing:
            self._stale = True

    async def _not_found(self, path: str) -> None:
        """A znode is missing: find the highest one above it that is, too. As long as that is, so is this one."""
        self._stale = self._stale or path in self._versions or path in self._listed
        self._missing.add(path)
        while (above := path.rpartition("/")[0]) and above not in self._versions:
            if above not in self._missing:
                try:
                    await self._ask(op.EXISTS, above, _stat)
                    break
                except NoNode:
                    self._missing.add(above)
            path = above
        self._absent[path] = None

    async def _ask(self, kind: int, path: str, decode: "Callable[[bytes, int], R]") -> R:
        body = rq.encode_path_watch(self._namespace.full(path), False)
        found: R = await self._namespace.submit(Call(kind, body, decode, path=path, reads=True)).result()
        return found

    def _wrote(self, path: str, data: bytes | None) -> None:
        self._written[path] = data
        self._count += 1

    def _refuse_over(self) -> None:
        if self._over:
            raise RuntimeError("this transaction is over: use the one that `fn` is called with, before `fn` returns")


async def run_atomically(
    begin: Callable[[], Transaction],
    fn: Callable[[Transaction], Awaitable[R]],
    sync: Callable[[], Awaitable[None]],
    random: Random,
    attempts: int,
) -> R:
    """`Client.atomically`. begin: makes a Transaction. sync: lets our server hear what the leader has committed."""
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise BadArguments("", f"attempts={attempts!r}: expected a whole number from 1 on")
    rounds = pauses(random, shortest=_SHORTEST_PAUSE, longest=_LONGEST_PAUSE)
    for attempt in range(attempts):
        if attempt > 1:
            await anyio.sleep(next(rounds))
        if attempt:
            await sync()  # or what was refused as old might be read again
        transaction = begin()
        try:
            awaited = fn(transaction)
            if not inspect.isawaitable(awaited):
                raise TypeError(f"fn: expected a coroutine function, not {fn!r}")
            result = await awaited
        except SessionError:
            raise
        except Exception:
            if await transaction._holds():
                raise
            continue  # it came of what never was so
        if await transaction._commit():
            return result
    raise UpdateConflict("", f"{attempts} attempts")


def _data_stat(reply: bytes, at: int) -> tuple[bytes, Stat]:
    data, stat, _ = rq.decode_data_stat(reply, at)
    return data or b"", stat


def _stat(reply: bytes, at: int) -> Stat:
    return decode_stat(reply, at)[0]


def _children(reply: bytes, at: int) -> _Children:
    names, at = rq.decode_children(reply, at)
    stat, _ = decode_stat(reply, at)
    # What a Stat shows as cversion is creations and deletions; creations minus deletions is the number of children.
    return _Children(sorted(text(name) for name in names), (stat.cversion + stat.num_children) // 2)
