"""Reading the data of claimed items, in as few requests as their sizes permit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recipes.core.errors import RecipesError, StoreError

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.client import Client
    from recipes.core.jute.records import Stat

_MOST = 8 << 20  # bytes that one request may ask for, as far as their number is known
_AT_FIRST = 20  # items in one request while nothing is known about their sizes
_MOST_ITEMS = 60  # in one request: each may be larger than all before, and a client takes replies of up to 64 MiB


class Reading:
    """The znodes at `paths`. largest: bytes of the largest of such znodes seen so far, 0 if none has been seen.

    `begin` asks for them: right behind the multi that claims them, since servers answer the requests of a session in
    order. So what is missing here was gone before it was claimed.
    """

    def __init__(self, client: "Client", paths: Sequence[str], largest: int) -> None:
        self.largest: int = largest
        self._client = client
        self._paths = paths
        self._calls: list[Call] = []
        self._error: RecipesError | None = None

    def begin(self) -> None:
        """Ask for them. Called again each time that the multi is sent again: earlier answers may be older than it."""
        self.abandon()
        self._calls = []
        most = min(max(1, _MOST // self.largest), _MOST_ITEMS) if self.largest else _AT_FIRST
        try:
            for at in range(0, len(self._paths), most):
                asked = self._paths[at : at + most]
                self._calls.append(self._client.start_multi_read([("get", path) for path in asked]))
        except RecipesError as error:  # the session is over
            self._error = error

    def abandon(self) -> None:
        """Nobody waits for the result any more."""
        for call in self._calls:
            call.abandoned = not call.done

    async def result(self) -> "list[tuple[bytes, Stat] | StoreError]":
        """Data and Stat of each znode, or the error of its read, in order. Call it once the multi was applied."""
        if self._error is not None:
            raise self._error
        found: list[tuple[bytes, Stat] | StoreError] = []
        for call in self._calls:
            found += await call.result()
        self.largest = max([self.largest, *(len(each[0]) for each in found if isinstance(each, tuple))])
        return found
