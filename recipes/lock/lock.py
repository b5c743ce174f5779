"""Mutual exclusion between processes (ZooKeeper Recipes and Solutions, Locks)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recipes.contender import Contender
from recipes.core.errors import LockLost
from recipes.lock.grant import Grant
from recipes.lock.lockable import Lockable
from recipes.naming import Naming, marker_of

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL


class Lock(Lockable[Grant]):
    """Mutual exclusion over `path`, granted in order of arrival; a release wakes exactly one waiter.

    client: a connected Client; the lock lives and dies with its session.
    path: the parent znode; made as a container, with its ancestors, when missing.
    data: kept in our znode, for `holders` and `waiters` to show.
    acl: who may do what with our znode, and with `path` where that is made here; everybody everything without it. To
        break a lock takes the right to delete at `path`.
    naming: "kazoo" or "curator" to stand in the line of kazoo's Lock or of Curator's InterProcessMutex, so that these
        and ours exclude one another. All users of a path name the same one. BadArguments for what it has no place for.
    confirm: False to leave a block without waiting for the servers, which saves a round trip: the deletion of our znode
        goes out with the next request. Nobody gets in earlier than else, and what this client asks for afterwards comes
        after it. But others may see the lock held for a moment longer, and a lock that somebody broke in a block that
        asked the servers for nothing is not said: LockLost is raised only for a loss that was heard of inside.

    One Lock may be used by several tasks, which then exclude one another; a task that holds it cannot take it
    again, with this object or another one of the same client and path (RuntimeError). A short disconnect changes
    nothing: the lock is kept until the session's local deadline.

    Raises LockLost at the edge of the block when the session is over, the client was closed or our znode was deleted
    by somebody else: the block is cancelled first, so that no code runs on in the belief that it still holds the lock.
    Before we stand in line it raises what every call of the client does: ClientClosed, SessionExpired, BadArguments,
    NoAuth, InvalidACL, NotReadOnly, QuotaExceeded; NoNode when the client's chroot is missing; ConnectionLoss when one
    connection after the other broke; RuntimeError in another thread, event loop or process than the client's.

    Any task may leave the block, as a fixture does; only the task that entered it is cancelled. Where that goes on, as
    after a `start()`, use `acquire`. A cancelled acquire leaves no znode behind. Leaving waits up to 0.08 s for the
    server to confirm it; then the client sees to it.
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
    ) -> None:
        super().__init__(client, path, marker_of(path, naming, "lock", data))
        self._data: bytes = data
        self._acl: Sequence[ACL] | None = acl
        self._confirm: bool = confirm

    def _contend(self) -> Contender:
        contender = Contender(self._client, self.path, self._marker, LockLost, self._data, self._acl)
        contender.confirm = self._confirm
        return contender

    def _show(self, contender: Contender) -> Grant:
        return Grant(contender)
