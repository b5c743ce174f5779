"""What a client leaves unread: how long, and how much, before it is hung up on."""

import asyncio
from collections.abc import Callable

PATIENCE_S = 10.0  # without any progress, while the connection is open
CLOSING_PATIENCE_S = 5.0  # the same once it is to be closed
LONGEST_CLOSING_S = 30.0  # in all, however much progress there is
MOST_ADDED_BYTES = 8 << 20  # watch events that wait behind replies that are not read
_LOOKS = 5  # at the amount that is left, per patience


class Unread:
    """Watches a transport with unsent bytes, from when its buffer is full or it is to be closed, until `stop`.

    gave_up: called once, before the transport is aborted, with the reason.
    """

    def __init__(self, transport: asyncio.Transport, gave_up: Callable[[str], None]) -> None:
        self._transport = transport
        self._gave_up = gave_up
        self._loop = asyncio.get_running_loop()
        self._patience_s = PATIENCE_S
        self._ends_s: float | None = None  # once the transport is to be closed
        self._least = transport.get_write_buffer_size()  # unsent bytes at the last progress, and those added since
        self._since_s = self._loop.time()  # of the last progress
        self._timer = self._loop.call_later(PATIENCE_S / _LOOKS, self._look)

    def added(self, size: int) -> None:
        """So many more bytes were given to the transport. It may be aborted for that."""
        self._least += size
        if self._least > MOST_ADDED_BYTES and self._transport.get_write_buffer_size() > MOST_ADDED_BYTES:
            self._give_up(f"more than {MOST_ADDED_BYTES >> 20} MB wait for it")

    def closing(self) -> None:
        """The transport is to be closed once all is sent: less patience."""
        self._patience_s = CLOSING_PATIENCE_S
        self._ends_s = self._loop.time() + LONGEST_CLOSING_S
        self._timer.cancel()
        self._timer = self._loop.call_later(CLOSING_PATIENCE_S / _LOOKS, self._look)

    def stop(self) -> None:
        """Everything is sent, or the connection is lost."""
        self._timer.cancel()

    def _look(self) -> None:
        now_s, size = self._loop.time(), self._transport.get_write_buffer_size()
        if size < self._least:
            self._least, self._since_s = size, now_s
        if now_s - self._since_s >= self._patience_s:
            self._give_up(f"it has read nothing for {now_s - self._since_s:.0f} s")
        elif self._ends_s is not None and now_s >= self._ends_s:
            self._give_up(f"it has not read everything within {LONGEST_CLOSING_S:.0f} s")
        else:
            self._timer = self._loop.call_later(self._patience_s / _LOOKS, self._look)

    def _give_up(self, why: str) -> None:
        self._timer.cancel()
        self._gave_up(why)
        self._transport.abort()
