"""One client's socket: received bytes go to its Connection, whose output leaves with one write per turn.

A BufferedProtocol, since streams with a task per connection cost more than the rest of the server.
"""

import asyncio
from typing import TYPE_CHECKING

from recipes.core.member.connection import Connection
from recipes.core.server.unread import Unread

if TYPE_CHECKING:
    from recipes.core.server.client_places import ClientPlace
    from recipes.core.server.server import Server

_READ_BYTES = 64 * 1024  # small requests that fill it take some 10 ms, for which the other clients wait


class ClientProtocol(asyncio.BufferedProtocol):
    """The shell's side of one client connection."""

    def __init__(
        self,
        server: "Server",
        buffer: memoryview,
        place: "ClientPlace | None" = None,
        *,
        secure: bool = False,
        local: bool = False,
    ) -> None:
        self._server = server
        self._place = place
        self._buffer = buffer  # shared by all connections: it is emptied before the loop serves the next one
        self._secure = secure
        self._local = local  # on a Unix socket: the client has no address
        self._reading = True
        self._unwritable = False
        self._unread: Unread | None = None  # while the client does not read what it is sent
        self.transport: asyncio.Transport | None = None
        self.connection: Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected; close the socket if there are too many clients."""
        self.transport = transport  # type: ignore[assignment]
        self.connection = self._server.admit(self, transport, self._secure, self._local)
        if self._place is not None:
            self._place.holder = self
        if self.connection is None:
            transport.abort()  # type: ignore[attr-defined]

    @property
    def is_stranger(self) -> bool:
        """Whether nothing has come that says what the client wants."""
        connection = self.connection
        return connection is not None and not connection.session_id and not connection.packets_in

    def hang_up(self) -> None:
        """Close now."""
        if self.transport is not None:
            self.transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer for received bytes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Give the received bytes to the Connection."""
        connection = self.connection
        if connection is None:
            return
        data = bytes(self._buffer[:nbytes])  # before other connections go on: the buffer is for all of them
        self._server.take_in()
        try:
            connection.receive(data)
        except Exception as error:
            # The request may have left something half done: a dead server is safe, a wrong one is not.
            self._server.fail(error)
            return
        if connection.paused:
            self._stop_reading()

    def eof_received(self) -> bool:
        """The client will send no more: send the answers that are there, and close the socket."""
        if self.connection is not None and self.connection.out:
            self._server.guarded(self._server.turn.carry_out)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._stop_watching()
        if self._place is not None:
            self._place.leave()
        if self.connection is not None:
            self.connection.lost()
            self._server.release(self)

    def pause_writing(self) -> None:
        """The client does not read fast enough: take no more requests from it."""
        self._unwritable = True
        if self.connection is not None:
            self._server.member.unread.add(self.connection)
        self._stop_reading()
        self._watch()

    def resume_writing(self) -> None:
        """The client has read enough of what was sent."""
        self._unwritable = False
        if self.connection is not None:
            self._server.member.unread.discard(self.connection)
        if self.transport is not None and not self.transport.is_closing():
            self._stop_watching()
        self._resume_reading()

    def flush(self) -> None:
        """Send the connection's output, and close the socket if the connection wants that."""
        connection, transport = self.connection, self.transport
        if connection is None or transport is None or transport.is_closing():
            return
        out = connection.out
        if out:
            unread, data, stats = self._unread, b"".join(out), self._server.member.stats
            size = len(data)
            stats.bytes_sent += size
            if len(out) > 1:
                stats.reply_sizes.add(list(map(len, out)))
            elif size != stats.reply_sizes.last:
                stats.reply_sizes.add([size])
            out.clear()
            transport.write(data)
            if unread is not None:
                unread.added(size)
                if transport.is_closing():
                    return
        if connection.wants_close:
            if connection.why_closed:
                self._gave_up(connection.why_closed)
            transport.close()
            if transport.get_write_buffer_size():
                self._watch().closing()
        elif not self._reading:
            self._resume_reading()

    def _watch(self) -> Unread:
        if self._unread is None:
            self._unread = Unread(self.transport, self._gave_up)  # type: ignore[arg-type]
        return self._unread

    def _stop_watching(self) -> None:
        if self._unread is not None:
            self._unread.stop()
            self._unread = None

    def _gave_up(self, why: str) -> None:
        if self.connection is not None:
            self._server.hung_up(self.connection.address, why)

    def _stop_reading(self) -> None:
        transport = self.transport
        if self._reading and transport is not None and not transport.is_closing():
            self._reading = False
            self._server.member.stats.pauses += 1
            transport.pause_reading()

    def _resume_reading(self) -> None:
        transport, connection = self.transport, self.connection
        if self._reading or self._unwritable or connection is None:
            return
        if connection.stopped:
            self._server.schedule()
            self._server.guarded(connection.go_on)
        if connection.paused:
            return
        if transport is not None and not transport.is_closing():
            self._reading = True
            transport.resume_reading()


def read_buffer() -> memoryview:
    """A receive buffer for all connections of one server."""
    return memoryview(bytearray(_READ_BYTES))
