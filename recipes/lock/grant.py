"""The grant of a lock."""

from typing import TYPE_CHECKING

from recipes.contender import Contender
from recipes.hold import RELEASED, Hold

if TYPE_CHECKING:
    import anyio


class Grant(Hold):
    """Given to the holder of a Lock, to a reader and to a writer; see Hold."""

    __slots__ = ()

    _tenure: Contender

    async def release(self) -> None:
        """Give the lock up, and return once the server has confirmed it. `ended` is set before the request goes out.

        Any task may call it, more than once. Inside a block, the block goes on without the lock. Without a block, it
        raises LockLost if the lock was lost. Raises RuntimeError in another thread, event loop or process, and NoAuth
        without permission to delete.
        """
        await self._tenure.release(RELEASED)

    @property
    def revoke_requested(self) -> "anyio.Event":
        """An event, set once somebody has called `revoke()`: release this as soon as it suits you.

        Nothing else happens: a holder that does not check the event keeps the lock.
        """
        return self._tenure.revoke_requested
