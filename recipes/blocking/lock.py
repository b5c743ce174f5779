"""Locks for threads and processes: exclusive, shared by readers, or with a number of permits."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from recipes import lock as of_tasks
from recipes.blocking.hold import Grant, SemaphoreGrant, WriteGrant, documented_by
from recipes.blocking.lockable import Lockable, acquired, tried
from recipes.blocking.portal import portal_of
from recipes.hold import OnSuspend
from recipes.line import Participant
from recipes.naming import Naming

if TYPE_CHECKING:
    from recipes.blocking.client import Client
    from recipes.core.jute.records import ACL


class Lock(Lockable[Grant]):
    """`with Lock(client, path) as grant:` mutual exclusion over `path`, granted in order of arrival; see recipes.Lock.

    Threads of one client exclude one another, with one Lock or with several. A thread that holds it gets
    RuntimeError if it takes it again. When the lock is lost, `grant.ended` is set before anybody else can have it, and
    LockLost is raised at the end of the block.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        data: bytes = b"",
        *,
        acl: "Sequence[ACL] | None" = None,
        naming: Naming = "native",
        confirm: bool = True,
        on_suspend: OnSuspend = "wait",
    ) -> None:
        portal = portal_of(client)
        lock = of_tasks.Lock(
            client.of_tasks, path, data, acl=acl, naming=naming, confirm=confirm, on_suspend=on_suspend
        )
        super().__init__(portal, lock, Grant)


@documented_by(of_tasks.ReadWriteLock)
class ReadWriteLock:
    """Any number of readers, or one writer, over `path`; granted in order of arrival; see recipes.ReadWriteLock.

    A thread that holds it gets RuntimeError if it asks again. `grant.downgrade()` makes a writer a reader.
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
        portal = portal_of(client)
        both = of_tasks.ReadWriteLock(client.of_tasks, path, data, acl=acl, naming=naming, on_suspend=on_suspend)
        self.path: str = both.path
        self._read: Lockable[Grant] = Lockable(portal, both.read(), Grant)
        self._write: Lockable[WriteGrant] = Lockable(portal, both.write(), WriteGrant)

    def read(self) -> Lockable[Grant]:
        """`with rw.read() as grant`: hold the lock together with other readers."""
        return self._read

    def write(self) -> Lockable[WriteGrant]:
        """`with rw.write() as grant`: hold the lock alone."""
        return self._write

    def try_read(self, *, within: float = 0.0) -> AbstractContextManager[Grant | None]:
        """`with rw.try_read(within=5.0) as grant`, None when not had in time; see `Lock.try_acquire`."""
        return self._read.try_acquire(within=within)

    def try_write(self, *, within: float = 0.0) -> AbstractContextManager[WriteGrant | None]:
        """`with rw.try_write(within=5.0) as grant`, None when not had in time; see `Lock.try_acquire`."""
        return self._write.try_acquire(within=within)

    def acquire_read(self, *, within: float | None = None) -> Grant:
        return self._read.acquire(within=within)

    def acquire_write(self, *, within: float | None = None) -> WriteGrant:
        return self._write.acquire(within=within)

    def holders(self) -> list[Participant]:
        return self._read.holders()

    def waiters(self) -> list[Participant]:
        return self._read.waiters()

    def revoke(self) -> list[Participant]:
        return self._read.revoke()


@documented_by(of_tasks.Semaphore)
class Semaphore(Lockable[SemaphoreGrant]):
    """At most `limit` permits over `path` at a time, granted in order of arrival; see recipes.Semaphore.

    A thread that has permits gets RuntimeError if it asks for more.
    """

    of_tasks: of_tasks.Semaphore

    def __init__(
        self,
        client: "Client",
        path: str,
        limit: int,
        data: bytes = b"",
        *,
        acl: "Sequence[ACL] | None" = None,
        naming: Naming = "native",
        on_suspend: OnSuspend = "wait",
    ) -> None:
        portal = portal_of(client)
        semaphore = of_tasks.Semaphore(
            client.of_tasks, path, limit, data, acl=acl, naming=naming, on_suspend=on_suspend
        )
        super().__init__(portal, semaphore, SemaphoreGrant)

    def acquire(self, permits: int = 1, *, within: float | None = None) -> SemaphoreGrant:
        """Take permits for more than a block: `grant = semaphore.acquire(2)`, later `grant.release()`, in any thread.

        All of them or none. within: seconds to wait at most, for ever without; then TimeoutError. A loss raises nothing
        by itself: look at `grant.ended`. Raises BadArguments for more than the limit, and what the block
        does.
        """
        return acquired(self._portal, lambda: self.of_tasks.acquire(permits), self._show, within)

    def try_acquire(self, permits: int = 1, *, within: float = 0.0) -> AbstractContextManager[SemaphoreGrant | None]:
        """`with semaphore.try_acquire(2, within=5.0) as grant`: a block with permits, None when not had in time.

        within: seconds to wait at most, which do not limit the block. Raises BadArguments as `acquire` does, and for
        an invalid number of seconds; and what the block does.
        """
        return tried(self._portal, self.of_tasks.try_acquire(permits, within=within), self._show)

    def resize(self, limit: int) -> None:
        self._portal.call(lambda: self.of_tasks.resize(limit))
