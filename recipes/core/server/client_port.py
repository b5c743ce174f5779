"""One client's socket: received bytes go to its Connection, whose output leaves with one write per turn.

A BufferedProtocol, since streams with a task per connection cost more than the rest of the server.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from recipes.core.member.connection import Connection

if TYPE_CHECKING:
    from recipes.core.server.server import Server

log: logging.Logger = logging.getLogger("recipes.server")

_READ_BYTES = 256 * 1024
_MOST_UNSENT_BYTES = 64 << 20  # a client that leaves more than this unread is disconnected


class ClientProtocol(asyncio.BufferedProtocol):
    """The shell's side of one client connection."""

    def __init__(self, server: "Server", buffer: memoryview, secure: bool = False, local: bool = False) -> None:
        self._server = server
        self._buffer = buffer  # shared by all connections: it is emptied before the loop serves the next one
        self._secure = secure
        self._local = local  # on a Unix socket: the client has no address
        self._reading = True
        self._unwritable = False
        self.transport: asyncio.Transport | None = None
        self.connection: Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected; close the socket if there are too many clients."""
        self.transport = transport  # type: ignore[assignment]
        self.connection = self._server.admit(self, transport, self._secure, self._local)
        if self.connection is None:
            transport.abort()  # type: ignore[attr-defined]

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer for received bytes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Give the received bytes to the Connection."""
        connection = self.connection
        if connection is None:
            return
        self._server.schedule()
        try:
            connection.receive(bytes(self._buffer[:nbytes]))
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
        if self.connection is not None:
            self.connection.lost()
            self._server.release(self)

    def pause_writing(self) -> None:
        """The client does not read fast enough: take no more requests from it."""
        self._unwritable = True
        self._stop_reading()

    def resume_writing(self) -> None:
        """The client has read enough of what was sent."""
        self._unwritable = False
        self._resume_reading()

    def flush(self) -> None:
        """Send the connection's output, and close the socket if the connection wants that."""
        connection, transport = self.connection, self.transport
        if connection is None or transport is None or transport.is_closing():
            return
        out = connection.out
        if out:
            data = b"".join(out)
            stats, size = self._server.member.stats, len(data)
            stats.bytes_sent += size
            if len(out) > 1:
                stats.reply_sizes.add(list(map(len, out)))
            elif size != stats.reply_sizes.last:
                stats.reply_sizes.add([size])
            transport.write(data)
            out.clear()
            if self._unwritable and transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
                log.warning(
                    "client %s does not read its replies: connection closed", connection.address[0] or "on the socket"
                )
                transport.abort()
                return
        if connection.wants_close:
            transport.close()
        elif not self._reading:
            self._resume_reading()

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
