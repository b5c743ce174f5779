"""Pauses between two holds of the same leader or member, so that it does not flap."""

from typing import TYPE_CHECKING

import anyio

from recipes.core.client.backoff import Backoff

if TYPE_CHECKING:
    from recipes.core.client.client import Client

_SHORT_SECONDS = 1.0  # a hold that ends sooner is followed by a pause


class Damping:
    """The pauses between one hold and the next.

    rejoin_after: seconds to stay out of the line after a hold that was lost.
    """

    def __init__(self, client: "Client", rejoin_after: float = 0.0) -> None:
        self._client = client
        self._rejoin_after = rejoin_after
        self._backoff = Backoff(client.random)
        self._since = client.clock()

    def begin(self) -> None:
        """The hold begins now."""
        self._since = self._client.clock()

    async def rest(self, *, lost: bool) -> None:
        """The hold has ended: return when it is time to join the line again. lost: it ended against its holder's will.

        After a hold of less than a second there is a pause, which grows to 2 s if such holds follow one another.
        """
        if lost and self._rejoin_after:
            await anyio.sleep(self._rejoin_after)
        if self._client.clock() - self._since < _SHORT_SECONDS:
            await self._backoff.pause()
        else:
            self._backoff = Backoff(self._client.random)
