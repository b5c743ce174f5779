"""Accepts connections that begin with a TLS handshake, and reports each handshake that fails.

loop.create_server drops such a connection silently, and does not tell the address of the other end.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from recipes.core.server.listening import Address, Listener, bound

_BACKLOG = 128
_ACCEPTS_PER_TURN = 16
_AGAIN_S = 1.0  # pause after the system had no descriptor or memory for a connection

Refused = Callable[[Any, OSError], None]


def listen_securely(
    make: Callable[[], asyncio.BaseProtocol],
    addresses: Sequence[Address],
    port: int,
    context: ssl.SSLContext,
    *,
    handshake_s: float,
    refused: Refused,
    backlog: int = _BACKLOG,
) -> Listener:
    """Accept connections at the addresses that `bound` can bind.

    make: called for each connection to make its protocol. handshake_s: how long a handshake may take.
    refused: called with the other end's socket address and the error when a handshake fails.
    Raises OSError when the port cannot be opened.
    """
    with ExitStack() as stack:
        sockets = bound(addresses, port)
        acceptor = _Acceptor(make, context, handshake_s, refused)
        for sock in sockets:
            stack.callback(acceptor.close, sock)
        for sock in sockets:
            sock.listen(backlog)
            sock.setblocking(False)
            acceptor.begin(sock)
        stack.callback(acceptor.hang_up)
        return Listener(sockets[0].getsockname()[1], stack.pop_all().close)


class _Acceptor:
    def __init__(
        self, make: Callable[[], asyncio.BaseProtocol], context: ssl.SSLContext, handshake_s: float, refused: Refused
    ) -> None:
        self._make = make
        self._context = context
        self._handshake_s = handshake_s
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()

    def begin(self, sock: socket.socket) -> None:
        """Accept connections on a socket, unless it has been closed."""
        if sock.fileno() >= 0:
            self._loop.add_reader(sock.fileno(), self._accept, sock)

    def close(self, sock: socket.socket) -> None:
        """Close a listening socket."""
        if sock.fileno() >= 0:
            self._loop.remove_reader(sock.fileno())
            sock.close()

    def hang_up(self) -> None:
        """Close all connections whose handshake is not done."""
        for handshake in self._handshakes:
            handshake.cancel()

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(sock.fileno())
                self._loop.call_later(_AGAIN_S, self.begin, sock)
                return
            connection.setblocking(False)
            handshake = self._loop.create_task(self._shake_hands(connection, address))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, connection: socket.socket, address: object) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make, connection, ssl=self._context, ssl_handshake_timeout=self._handshake_s
            )
        except OSError as error:
            self._refused(address, error)
