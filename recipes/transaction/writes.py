"""Writes of one process that share requests: the store does less for one multi than for many.

One multi is under way at a time. Writes that come meanwhile go into the next one together, so a write waits for one
other reply at most, and the more transactions there are at a time, the more share a multi.

A multi is applied as a whole or not at all. So if a shared one fails, because of one of its writes or because its reply
was lost, each write is sent again by itself, and each caller gets the error of its own write.
"""

from typing import TYPE_CHECKING

from recipes.core.client.waiter import Waiter
from recipes.core.errors import RecipesError

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.client import Client
    from recipes.core.client.multi import Multi

_MOST = 32  # writes in one multi


class _Write:
    """One caller's operations. error: why the multi that they were in has failed; it is also this write's own error if
    it was alone in it."""

    __slots__ = ("alone", "answered", "error", "guard", "multi")

    def __init__(self, guard: str, multi: "Multi") -> None:
        self.guard: str = guard
        self.multi: Multi = multi
        self.answered: Waiter = Waiter()
        self.error: RecipesError | None = None
        self.alone: bool = False


class SharedWrites:
    """The writes of one client."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._waiting: list[_Write] = []
        self._busy = False  # whether a multi is under way

    async def apply(self, guard: str, multi: "Multi") -> None:
        """Apply the operations of `multi`, which was not sent, if the znode `guard` exists.

        Raises what the end of a `client.multi()` block raises, also for the guard. After a cancellation nobody knows
        whether they are applied.
        """
        write = _Write(guard, multi)
        self._waiting.append(write)
        if not self._busy:
            self._send()
        try:
            await write.answered.wait()
        except BaseException:
            if write in self._waiting:
                self._waiting.remove(write)
            raise
        if write.error is None:
            return
        if write.alone:
            raise write.error
        async with self._client.multi() as own:
            own.check(guard)
            own.extend(multi)

    def _send(self) -> None:
        """Send what waits. Its reply sends the next."""
        batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        multi = self._client.multi()
        for guard in dict.fromkeys(write.guard for write in batch):
            multi.check(guard)
        for write in batch:
            multi.extend(write.multi)

        def heard(call: "Call") -> None:
            self._busy = False
            self._answer(batch, call.error or call.value.error)
            if self._waiting:
                self._send()

        try:
            multi.start(heard)
        except RecipesError as error:  # the session is over, or together they are too large
            self._answer(batch, error)
            if self._waiting:
                self._send()
        else:
            self._busy = True

    def _answer(self, batch: list[_Write], error: RecipesError | None) -> None:
        for write in batch:
            write.error, write.alone = error, len(batch) == 1
            write.answered.set()
