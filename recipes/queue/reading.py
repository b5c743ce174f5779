"""Reading the data of many items, in as few requests as their sizes permit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recipes.core.errors import RecipesError, StoreError
from recipes.writer import MOST_BYTES

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.client import Client
    from recipes.core.jute.records import Stat

_MOST = 4 << 20  # bytes that one request may ask for, as far as their number is known


class Reading:
    """The znodes at `paths`, which it asks for at once.

    largest: bytes of the largest of such znodes seen so far, 0 if none has been seen. Then only as many are asked for
    as may be of the largest size that there is, and the others once the sizes of these are known.
    """

    def __init__(self, client: "Client", paths: Sequence[str], largest: int) -> None:
        self.largest: int = largest
        self._client = client
        self._left = paths
        self._calls: list[Call] = []
        self._abandoned = False
        self._error: RecipesError | None = None
        if largest:
            self._ask_all()
        else:
            self._ask(_MOST // MOST_BYTES)
            self._calls[0].heard = self._heard

    def abandon(self) -> None:
        """Nobody waits for the result any more."""
        self._abandoned = True
        for call in self._calls:
            call.abandoned = not call.done

    async def result(self) -> "list[tuple[bytes, Stat] | StoreError]":
        """Data and Stat of each znode, or the error of its read, in order."""
        found: list[tuple[bytes, Stat] | StoreError] = []
        for call in self._calls:  # the first reply may add others
            found += await call.result()
        if self._error is not None:
            raise self._error
        self._measure(found)
        return found

    def _ask(self, count: int) -> None:
        paths, self._left = self._left[:count], self._left[count:]
        self._calls.append(self._client.start_multi_read([("get", path) for path in paths]))

    def _ask_all(self) -> None:
        while self._left:
            self._ask(max(1, _MOST // (self.largest or MOST_BYTES)))

    def _heard(self, call: "Call") -> None:
        if call.error is None and not self._abandoned:
            self._measure(call.value)
            try:
                self._ask_all()
            except RecipesError as error:  # the session is over
                self._error = error

    def _measure(self, found: "Sequence[tuple[bytes, Stat] | StoreError]") -> None:
        self.largest = max([self.largest, *(len(each[0]) for each in found if isinstance(each, tuple))])
