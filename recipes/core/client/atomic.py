"""Optimistic transactions: reads and writes of several znodes that take effect as if at one moment.

Reads go to the server at once; writes are kept back. At the end one multi checks that everything that was read is
unchanged, and makes the writes. If something has changed, nothing is written, and the function runs again.

ZooKeeper can check a znode's version only. The other two checks are made of creates and deletes:

- A znode is missing: create it and delete it.
- No child was added: create a sequential child, and delete it under the name with the next expected number. The delete
  fails if another child has been created since, because the server then gave another number.

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
from recipes.core.jute.codec import texts
from recipes.core.jute.records import ACL, Stat, decode_stat

R = TypeVar("R")

_SHORTEST_PAUSE = 0.002  # seconds, after the second conflict; it doubles
_LONGEST_PAUSE = 0.5


class _Children(NamedTuple):
    names: list[str]
    made: int  # how many children were ever created


class Transaction:
    """What `fn` of `client.atomically(fn)` reads and writes through.

    It sees its own writes. A second read of a path returns the first result without a request. Reads raise the same
    errors as the client's. Writes raise BadArguments and TypeError at once; errors of the server come at the end.
    """

    def __init__(self, namespace: Namespace, random: Random) -> None:
        self._namespace: Namespace = namespace
        self._random: Random = random
        self._over: bool = False
        self._stale: bool = False  # two reads contradict each other
        self._versions: dict[str, int] = {}  # of each path that was found
        self._data: dict[str, bytes] = {}
        self._missing: set[str] = set()
        self._absent: dict[str, None] = {}  # paths that must still be missing at the end: the topmost missing ancestors
        self._listed: dict[str, _Children] = {}
        self._writes: Multi = Multi(namespace)
        self._written: dict[str, bytes | None] = {}  # data of each path after the writes; None if they delete it
        self._made: set[str] = set()
        self._makes: dict[str, int] = {}  # paths whose first write is a create -> index of that write
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
        """Whether there is such a znode. If there is none, the check at the end needs permission to create it."""
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

        The check at the end needs one operation for each child, and permission to create a child.
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
        """Create a znode. The end raises NodeExists and NoNode (its parent), unless `fn` had read otherwise."""
        self._refuse_over()
        self._writes.create(path, data, ephemeral=ephemeral, acl=acl)
        if path not in self._written:
            self._makes[path] = self._count
        self._made.add(path)
        self._wrote(path, bytes(data))

    def set(self, path: str, data: bytes) -> None:
        """Replace the data. The end raises NoNode if there is no such znode, unless `fn` had read otherwise."""
        self._refuse_over()
        self._writes.set(path, data)
        self._wrote(path, bytes(data))

    def delete(self, path: str) -> None:
        """Delete a znode. The end raises NoNode and NotEmpty, unless `fn` had read otherwise."""
        self._refuse_over()
        self._writes.delete(path)
        self._wrote(path, None)

    async def _commit(self) -> bool:
        """Called at the end: make the writes if everything that was read still holds; return whether it does."""
        self._over = True
        if self._stale:
            return False
        facts = len(self._versions) + len(self._absent) + len(self._listed)
        if not self._count and facts <= 1:
            return True  # a single read is consistent by itself
        multi, may_conflict = self._guards()
        guards = multi.count
        multi.extend(self._writes)
        return await self._send(multi, {*range(guards), *(guards + index for index in may_conflict)}, self._count > 0)

    async def _holds(self) -> bool:
        """Called when `fn` raised: whether all of its reads held at one moment. Nothing is written."""
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
        """The operations that check the reads, and the indices of the writes that check some as well."""
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
        """A znode is missing: find its topmost missing ancestor. While that is missing, this one is too."""
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
    """`Client.atomically`. begin: makes a Transaction. sync: waits until our server has what the leader committed."""
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise BadArguments("", f"attempts={attempts!r}: expected a whole number from 1 on")
    rounds = pauses(random, shortest=_SHORTEST_PAUSE, longest=_LONGEST_PAUSE)
    for attempt in range(attempts):
        if attempt > 1:
            await anyio.sleep(next(rounds))
        if attempt:
            await sync()  # otherwise the server could show the same outdated state again
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
            continue  # the error came from reads that never held together
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
    # A Stat's cversion counts creations plus deletions; num_children is creations minus deletions.
    return _Children(sorted(texts(names)), (stat.cversion + stat.num_children) // 2)
