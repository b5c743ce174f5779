"""How long somebody that holds again and again waits in between, so that nothing flaps: a leader, or a member."""

from typing import TYPE_CHECKING

import anyio

from recipes.core.client.backoff import Backoff

if TYPE_CHECKING:
    from recipes.core.client.client import Client

_SHORT_SECONDS = 1.0  # what is over sooner did no work to speak of


class Damping:
    """The rests between one hold and the next.

    rejoin_after: seconds to stay out of the line after one that was lost.
    """

    def __init__(self, client: "Client", rejoin_after: float = 0.0) -> None:
        self._client = client
        self._rejoin_after = rejoin_after
        self._backoff = Backoff(client.random)
        self._since = client.clock()

    def begin(self) -> None:
        """It is held from now on."""
        self._since = self._client.clock()

    async def rest(self, *, lost: bool) -> None:
        """It is held no more, against its holder's will or not: return when it is time to stand in line again.

        After what lasted less than a second there is a pause, which grows to 2 s when that happens again and again.
        """
        if lost and self._rejoin_after:
            await anyio.sleep(self._rejoin_after)
        if self._client.clock() - self._since < _SHORT_SECONDS:
            await self._backoff.pause()
        else:
            self._backoff = Backoff(self._client.random)
