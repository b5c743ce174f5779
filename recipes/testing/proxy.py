"""A connection between two servers that can be cut as in a network: nothing gets through, and nothing breaks."""

import asyncio

_HOST = "127.0.0.1"


class Proxy:
    """Forwards connections to `port` on this machine. While it is cut, data and new connections wait."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cut = self._closed = False
        self._whole = asyncio.Event()
        self._whole.set()
        self._ends: set[_End] = set()
        self._dials: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        """Listen, and return the port."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _End(self, accepted=True), _HOST, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self, cut: bool) -> None:
        """Let nothing through, or everything again, including what has piled up meanwhile."""
        self._cut = cut
        (self._whole.clear if cut else self._whole.set)()
        for end in self._ends:
            end.pause(cut)

    async def close(self) -> None:
        """Break every connection, also those that were accepted at this moment."""
        self._closed = True
        self._server.close()
        for task in self._dials:
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for end in list(self._ends):
            end.abort()
        while self._ends:  # noqa: ASYNC110 - a socket is closed one loop turn later, there is no event for it
            await asyncio.sleep(0)

    def made(self, end: "_End", accepted: bool) -> None:
        """One end of a connection was opened."""
        self._ends.add(end)
        if self._closed:
            end.abort()
            return
        end.pause(accepted or self._cut)
        if accepted:
            task = asyncio.get_running_loop().create_task(self._dial(end))
            self._dials.add(task)
            task.add_done_callback(self._dials.discard)

    def lost(self, end: "_End") -> None:
        """One end of a connection is closed."""
        self._ends.discard(end)

    async def _dial(self, end: "_End") -> None:
        await self._whole.wait()
        try:
            _, other = await asyncio.get_running_loop().create_connection(
                lambda: _End(self, accepted=False), _HOST, self._port
            )
        except OSError:
            end.abort()
        else:
            end.join(other)
            end.pause(self._cut)


class _End(asyncio.Protocol):
    """One of the two sockets of a connection."""

    def __init__(self, proxy: Proxy, accepted: bool) -> None:
        self._proxy = proxy
        self._accepted = accepted
        self._other: _End | None = None
        self._transport: asyncio.Transport | None = None
        self._early = b""  # received before the other end existed: uvloop reads on when paused in connection_made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = transport  # type: ignore[assignment]
        self._proxy.made(self, self._accepted)

    def join(self, other: "_End") -> None:
        """Connect the two ends: what one receives the other sends."""
        self._other, other._other = other, self
        for end in (self, other):
            early, end._early = end._early, b""
            if early:
                end.data_received(early)
        if self._transport is None or self._transport.is_closing():
            other.abort()

    def data_received(self, data: bytes) -> None:
        """Send it from the other end."""
        if self._other is not None and self._other._transport is not None:
            self._other._transport.write(data)
        else:
            self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed: close the other end, too."""
        self._proxy.lost(self)
        if self._other is not None:
            self._other.abort()

    def pause(self, pause: bool) -> None:
        """Stop reading, or go on reading."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            (transport.pause_reading if pause else transport.resume_reading)()

    def abort(self) -> None:
        """Close the socket at once."""
        if self._transport is not None:
            self._transport.abort()
