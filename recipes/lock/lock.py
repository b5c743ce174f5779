"""Mutual exclusion between processes (ZooKeeper Recipes and Solutions, Locks)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recipes.contender import Contender
from recipes.core.errors import LockLost
from recipes.hold import OnSuspend
from recipes.lock.grant import Grant
from recipes.lock.lockable import Lockable
from recipes.naming import Naming, marker_of

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL


class Lock(Lockable[Grant]):
    """Mutual exclusion over `path`, granted in order of arrival; a release wakes exactly one waiter.

    client: a connected Client; the lock lives and dies with its session.
    path: the parent znode; created as a container, with its ancestors, if it is missing.
    data: kept in our znode, for `holders` and `waiters` to show.
    acl: who may do what with our znode, and with `path` if it is created here; without it everybody may do everything.
        Breaking a lock needs permission to delete at `path`.
    naming: "kazoo" or "curator" to join the line of kazoo's Lock or of Curator's InterProcessMutex, so that their locks
        and ours exclude one another. All users of a path must use the same naming. It raises BadArguments for data that
        the other library cannot hold.
    confirm: False to leave a block without waiting for the servers, which saves a round trip: the deletion of our znode
        goes out with the next request, in one transaction with it if that acquires this lock again. The lock still
        excludes others until the deletion, and later requests of this client come after it. But others may see the lock
        held for a moment longer. And if somebody breaks the lock during a block that sends no request, no LockLost is
        raised: the client does not learn of it inside the block.
    on_suspend: "release" to end the hold as soon as the connection breaks, even if the session lives on: the block is
        cancelled, LockLost is raised, and our znode is deleted once a server can be reached. With "wait" a short
        disconnect does not end the hold: it is kept until the session's local deadline.

    Several tasks may use one Lock, and then exclude one another. A task that holds it cannot take it again, with this
    object or another one of the same client and path (RuntimeError).

    Raises LockLost at the end of the block if the session is over, the client was closed or somebody else deleted our
    znode. The block is cancelled first, so that no code runs on in the belief that it still holds the lock.

    Acquiring raises, before our znode is in line: ClientClosed or SessionExpired if the client is unusable;
    BadArguments, NoAuth, InvalidACL, NotReadOnly, QuotaExceeded; NoNode when the client's chroot is missing;
    ConnectionLoss when one connection after the other broke; RuntimeError in another thread, event loop or process than
    the client's.

    Any task may leave the block, as a test fixture does; only the task that entered it is cancelled. If the entering
    task goes on with other work, as after a `start()`, use `acquire`. A cancelled acquire leaves no znode behind.
    Leaving waits up to 0.08 s for the server to confirm the deletion; after that the client retries in the background.
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
        super().__init__(client, path, marker_of(path, naming, "lock", data), on_suspend)
        self._data: bytes = data
        self._acl: Sequence[ACL] | None = acl
        self._confirm: bool = confirm

    def _contend(self) -> Contender:
        place = Contender
        if not self._confirm:
            from recipes.lock.unconfirmed import UnconfirmedPlace as place  # of use to few
        contender = place(self._client, self.path, self._marker, LockLost, self._data, self._acl)
        contender.on_suspend = self._on_suspend
        return contender

    def _show(self, contender: Contender) -> Grant:
        return Grant(contender)
