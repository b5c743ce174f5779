"""A task's wait for one thing, at the lowest price: each request that is answered needs one."""

import asyncio
from asyncio.events import _get_running_loop
from collections.abc import Awaitable

import anyio


class Waiter:
    """One task awaits `wait()`, once; `set` wakes it. On asyncio it is a future, at a fraction of an Event's cost."""

    __slots__ = ("_once",)

    def __init__(self) -> None:
        loop = _get_running_loop()
        self._once: asyncio.Future[None] | anyio.Event = anyio.Event() if loop is None else loop.create_future()

    def wait(self) -> Awaitable[None]:
        """Await the result, to wait for `set`."""
        return self._once if isinstance(self._once, asyncio.Future) else self._once.wait()

    async def wait_at_most(self, seconds: float) -> None:
        """Wait for `set`, but not longer than this. A timer is cheaper than a cancel scope."""
        if isinstance(self._once, asyncio.Future):
            timer = self._once.get_loop().call_later(seconds, self.set)
            try:
                await self._once
            finally:
                timer.cancel()
        else:
            with anyio.move_on_after(seconds):
                await self._once.wait()

    def set(self) -> None:
        """It has happened."""
        if not isinstance(self._once, asyncio.Future):
            self._once.set()
        elif not self._once.done():  # it is done if its task was cancelled
            self._once.set_result(None)
