"""Readers together or one writer alone (ZooKeeper Recipes and Solutions, Shared Locks)."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from posixpath import commonprefix
from typing import TYPE_CHECKING

import anyio

from recipes.contender import Contender
from recipes.core import paths
from recipes.core.client.backoff import Backoff
from recipes.core.errors import ConnectionLoss, LockLost, NoNode, RecipesError, ThrottledOp
from recipes.hold import OnSuspend
from recipes.line import Participant, place_behind
from recipes.lock.grant import Grant
from recipes.lock.lockable import Lockable
from recipes.naming import Naming, marker_of

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL


class Writer(Contender):
    """The place of a writer in line, which can become the place of a reader."""

    reading: bool = False
    _replaced: anyio.Event | None = None  # set once the downgrade under way has ended
    _failure: RecipesError | None = None

    async def downgrade(self) -> None:
        """Become a reader in the same place. Raises LockLost if the hold has ended, and the store's errors."""
        self._scope.home.check()
        if self._replaced is None and not self.ended.is_set() and not self.reading:
            if self._watch is not None:
                self._watch.cancel()
            self._sure = False
            self._prefix = commonprefix([self.path, self._place_as_reader()])
            self._failure, self._replaced = None, anyio.Event()
            # In the client's own task, so that a cancelled caller leaves nothing half done.
            self.client.look_after(self._replace)
        await self.settle()
        if self.ended.is_set():
            raise self.refusal()
        if self._failure is not None:
            raise self._failure

    async def settle(self) -> None:
        """Return once it is certain at which path our znode is."""
        if self._replaced is not None:
            await self._replaced.wait()

    async def _replace(self) -> None:
        try:
            await self._replace_surely(self.path, self._place_as_reader())
        except RecipesError as error:
            self._failure = error
        finally:
            replaced, self._replaced = self._replaced, None
            if replaced is not None:
                replaced.set()
        self._watch = None
        if not self.ended.is_set():
            self.watch_own()

    def _place_as_reader(self) -> str:
        parent, _, name = self.path.rpartition("/")
        return f"{parent}/{place_behind(name, 'read', self.fence)}"

    async def _replace_surely(self, old: str, new: str) -> None:
        """Create `new` and delete `old` in one multi, so that we have a znode in line at each moment."""
        backoff = Backoff(self.client.random)
        while True:
            try:
                if backoff.failures:  # the outcome of the try before is unknown
                    await self.client.sync(self._parent)
                    made = await self.client.exists(new)
                    if made is not None and made.ephemeral_owner == self.client.session.id:
                        self._become_reader(new)
                        return
                    self._sure = True
                if self.ended.is_set():
                    return
                self._sure = False
                multi = self.client.multi()
                multi.create(new, self._data, ephemeral=True, acl=self._acl)
                multi.delete(old)
                outcome = await multi.start().result()
            except (ConnectionLoss, ThrottledOp):
                await backoff.pause()
                continue
            self._sure = True
            if outcome.error is None:
                self._become_reader(new)
            elif isinstance(outcome.error, NoNode):
                self._gone()
            else:
                self._failure = outcome.error
            return

    def _become_reader(self, path: str) -> None:
        self.path = path
        self.reading = self._sure = True


class WriteGrant(Grant):
    """Given to a writer; see Hold."""

    __slots__ = ()

    _tenure: Writer

    @property
    def reading(self) -> bool:
        """Whether it was downgraded, so that it holds as a reader now."""
        return self._tenure.reading

    async def downgrade(self) -> None:
        """Become a reader in the same place in line: other readers may enter, and no writer gets in between.

        Fence and block stay; `path` changes. Returns once the server has confirmed it; after a lost reply it finds out
        whether it was done. A caller that is cancelled meanwhile still holds, and must assume that it is a reader. A
        second call does nothing.

        Raises LockLost if the hold has ended, NoAuth without permission to create and delete, QuotaExceeded.
        """
        await self._tenure.downgrade()


class ReadSide(Lockable[Grant]):
    """The readers of a ReadWriteLock."""

    def __init__(
        self,
        client: "Client",
        path: str,
        data: bytes,
        acl: "Sequence[ACL] | None",
        naming: Naming = "native",
        on_suspend: OnSuspend = "wait",
    ) -> None:
        super().__init__(client, path, marker_of(path, naming, "read", data), on_suspend)
        self._data: bytes = data
        self._acl: Sequence[ACL] | None = acl

    def _contend(self) -> Contender:
        contender = Contender(self._client, self.path, self._marker, LockLost, self._data, self._acl)
        contender.on_suspend = self._on_suspend
        return contender

    def _show(self, contender: Contender) -> Grant:
        return Grant(contender)


class WriteSide(Lockable[WriteGrant]):
    """The writers of a ReadWriteLock."""

    def __init__(
        self,
        client: "Client",
        path: str,
        data: bytes,
        acl: "Sequence[ACL] | None",
        naming: Naming = "native",
        on_suspend: OnSuspend = "wait",
    ) -> None:
        super().__init__(client, path, marker_of(path, naming, "write", data), on_suspend)
        self._data: bytes = data
        self._acl: Sequence[ACL] | None = acl

    def _contend(self) -> Contender:
        writer = Writer(self._client, self.path, self._marker, LockLost, self._data, self._acl)
        writer.on_suspend = self._on_suspend
        return writer

    def _show(self, contender: Contender) -> WriteGrant:
        return WriteGrant(contender)


class ReadWriteLock:
    """Any number of readers, or one writer, over `path`; granted in order of arrival, so that no writer starves.

    client, path, data, acl, on_suspend: see Lock. A Lock at the same path counts as a writer.
    naming: "kazoo" or "curator" to join the line of kazoo's ReadLock and WriteLock, or of Curator's
        InterProcessReadWriteLock; see Lock.

    A reader waits for the writers in front of it, a writer for everybody in front of it; nobody waits for later
    arrivals. Each waiter watches one znode in front of it. So the end of a reader wakes one writer at most, and the end
    of a writer wakes the readers that waited for it.

    A task that reads or writes cannot ask again (RuntimeError). So there is no upgrade from reading to writing: two
    readers that tried would wait for each other for ever. A writer becomes a reader by `await grant.downgrade()`.

    Raises the errors of Lock, at the same points.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        data: bytes = b"",
        *,
        acl: "Sequence[ACL] | None" = None,
        naming: Naming = "native",
        on_suspend: OnSuspend = "wait",
    ) -> None:
        self.path: str = paths.check(path)
        self._client: Client = client
        self._read: ReadSide = ReadSide(client, path, data, acl, naming, on_suspend)
        self._write: WriteSide = WriteSide(client, path, data, acl, naming, on_suspend)

    def read(self) -> Lockable[Grant]:
        """`async with rw.read() as grant`: hold it together with other readers."""
        return self._read

    def write(self) -> Lockable[WriteGrant]:
        """`async with rw.write() as grant`: hold it alone."""
        return self._write

    def try_read(self, *, within: float = 0.0) -> AbstractAsyncContextManager[Grant | None]:
        """`async with rw.try_read(within=5.0) as grant`, None if it was not free in time; see `Lock.try_acquire`."""
        return self._read.try_acquire(within=within)

    def try_write(self, *, within: float = 0.0) -> AbstractAsyncContextManager[WriteGrant | None]:
        """`async with rw.try_write(within=5.0) as grant`, None if it was not free in time; see `Lock.try_acquire`."""
        return self._write.try_acquire(within=within)

    async def acquire_read(self) -> Grant:
        """Read for longer than a block; see `Lock.acquire`."""
        return await self._read.acquire()

    async def acquire_write(self) -> WriteGrant:
        """Write for longer than a block; see `Lock.acquire`."""
        return await self._write.acquire()

    async def holders(self) -> list[Participant]:
        """Who holds it: readers, or one writer; `kind` says which. Raises NoAuth, SessionExpired, ClientClosed."""
        return await self._read.holders()

    async def waiters(self) -> list[Participant]:
        """Who waits, next in line first. Raises NoAuth, SessionExpired, ClientClosed."""
        return await self._read.waiters()

    async def revoke(self) -> list[Participant]:
        """Ask the current holders to give it up, and return them; see `Lock.revoke`."""
        return await self._read.revoke()
