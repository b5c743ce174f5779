"""What a holder of a lock has in hand."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from recipes.contender import Contender
from recipes.hold import RELEASED, Guarded, Hold

if TYPE_CHECKING:
    import anyio

    from recipes.core.client.multi import Multi


class Grant(Hold):
    """What a holder of a Lock, a reader or a writer has in hand; see Hold."""

    __slots__ = ()

    _tenure: Contender

    async def release(self) -> None:
        """Give the lock up, and return once the server has confirmed it. `ended` is set before the request goes out.

        Any task may do it, more than once. Inside a block that one goes on without the lock. Without a block, raises
        LockLost if it was lost. RuntimeError in another thread, event loop or process, NoAuth without the right.
        """
        await self._tenure.release(RELEASED)

    def guarded(self) -> "AbstractAsyncContextManager[Multi]":
        """`async with grant.guarded() as multi: multi.set(...)`: writes that are applied only while this is held.

        As `client.multi()`, sent when the block ends well, with a check of our znode in it: the store applies all of it
        or nothing. Once this has ended it raises the error of a loss, such as LockLost, and nothing was applied; beside
        that what `client.multi()` raises, a ConnectionLoss too, after which nobody knows whether it was applied.
        """
        return Guarded(self._tenure)

    @property
    def revoke_requested(self) -> "anyio.Event":
        """Set once somebody asked for this to be given up, with `revoke()`: do so as soon as it suits you.

        Nothing else happens by itself; a holder that does not look keeps what it has.
        """
        return self._tenure.revoke_requested
