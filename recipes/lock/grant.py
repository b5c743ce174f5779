"""What a holder of a lock has in hand."""

from typing import TYPE_CHECKING

from recipes.contender import Contender
from recipes.hold import RELEASED, Hold

if TYPE_CHECKING:
    import anyio


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

    @property
    def revoke_requested(self) -> "anyio.Event":
        """Set once somebody asked for this to be given up, with `revoke()`: do so as soon as it suits you.

        Nothing else happens by itself; a holder that does not look keeps what it has.
        """
        return self._tenure.revoke_requested
