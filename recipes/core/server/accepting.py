"""Accepts connections, plain, with a TLS handshake or either, and drops those that are not made yet when it closes.

asyncio's own server drops a failed handshake silently, and does not tell the address of the other end. A connection
that it accepted one turn before it was closed stays open without an owner; its protocol may also be made afterwards.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import ssl  # takes time to import, and many servers need none of it

    from recipes.core.server.client_places import ClientPlace, ClientPlaces
    from recipes.core.server.strangers import Strangers

BACKLOG = 128
_ACCEPTS_PER_TURN = 64
_TCP = (socket.AF_INET, socket.AF_INET6)
_HANDSHAKE = b"\x16"  # a TLS record of this kind comes first; no frame, packet or word of ZooKeeper's begins so
_LEAST_S = 0.001  # a time limit must be positive
_AGAIN_S = 1.0  # pause after the system had no descriptor or memory for a connection


class Tls(NamedTuple):
    """What a port with TLS needs.

    handshake_s: how long a handshake may take from when its connection is accepted; the wait for the first byte, where
        that tells whether there is one, is a part of it.
    unfinished: the limit on the number of handshakes that are not finished.
    refused: called with the other end's socket address and the error when a handshake fails.
    plain: makes the protocol of a connection that begins without a handshake, like `make`; None: TLS only.
    """

    context: "ssl.SSLContext"
    handshake_s: float
    unfinished: "Strangers"
    refused: Callable[[Any, OSError], None]
    plain: Callable[..., asyncio.BaseProtocol] | None = None


class _Unmade:
    """A connection that is accepted, and has no protocol yet."""

    is_stranger: bool = True

    def __init__(self, making: asyncio.Task[None]) -> None:
        self._making = making

    def hang_up(self) -> None:
        """Close now."""
        self._making.cancel()


class ConnectionAcceptor:
    """Accepts connections on bound sockets, which it owns, until `close`.

    make: called for each connection to make its protocol; with places, it gets the connection's ClientPlace, which the
        protocol leaves once its connection is lost. Raises OSError when a socket cannot listen.
    places: a connection for which there is no place is closed at once.
    """

    def __init__(
        self,
        make: Callable[..., asyncio.BaseProtocol],
        sockets: Sequence[socket.socket],
        backlog: int,
        tls: Tls | None = None,
        places: "ClientPlaces | None" = None,
    ) -> None:
        self._make = make
        self._places = places
        self._sockets = sockets
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._unmade: set[asyncio.Task[None]] = set()
        try:
            for sock in sockets:
                sock.listen(backlog)
                sock.setblocking(False)
                self._begin(sock)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the listening sockets, and all connections that are not made yet."""
        for sock in self._sockets:
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock.fileno())
                sock.close()
        for making in self._unmade:
            making.cancel()

    def _begin(self, sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            self._loop.add_reader(sock.fileno(), self._accept, sock)

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(sock.fileno())
                self._loop.call_later(_AGAIN_S, self._begin, sock)
                return
            place = None
            if self._places is not None:
                place = self._places.enter(address)
                if place is None:
                    connection.close()
                    continue
            connection.setblocking(False)
            if connection.family in _TCP:
                # asyncio does so only for sockets that were made with this protocol's number, and these were not.
                # Without it, what follows a short reply waits until the other end has confirmed that: up to 40 ms.
                with suppress(OSError):  # the other end is gone already
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            making = self._loop.create_task(self._make_connection(connection, address, place))
            self._unmade.add(making)
            unmade = _Unmade(making)
            making.add_done_callback(partial(self._made, connection, place, unmade))
            if place is not None:
                place.holder = unmade
            if self._tls is not None:
                self._tls.unfinished.meet(unmade, address)

    def _made(
        self, connection: socket.socket, place: "ClientPlace | None", unmade: _Unmade, making: asyncio.Task[None]
    ) -> None:
        self._unmade.discard(making)
        if self._tls is not None:
            self._tls.unfinished.know(unmade)
        if making.cancelled():  # possibly before it had begun, so that nothing else closes the socket
            connection.close()
            if place is not None:
                place.leave()

    async def _make_connection(self, connection: socket.socket, address: object, place: "ClientPlace | None") -> None:
        tls, of_place = self._tls, () if place is None else (place,)
        if tls is None:
            await self._connect(partial(self._make, *of_place), connection)
            return
        until = self._loop.time() + tls.handshake_s
        try:
            if tls.plain is not None and await self._first_byte(connection, tls.handshake_s) != _HANDSHAKE:
                await self._connect(partial(tls.plain, *of_place), connection)
                return
            make = partial(self._make, *of_place)
            left_s = max(_LEAST_S, until - self._loop.time())
            await self._connect(make, connection, ssl=tls.context, ssl_handshake_timeout=left_s)
        except OSError as error:
            if place is not None:
                place.leave()
            tls.refused(address, error)

    async def _connect(
        self, make: Callable[[], asyncio.BaseProtocol], connection: socket.socket, **settings: Any
    ) -> None:
        made: list[asyncio.BaseProtocol] = []

        def make_one() -> asyncio.BaseProtocol:
            made.append(make())
            return made[-1]

        try:
            await self._loop.connect_accepted_socket(make_one, connection, **settings)
        except asyncio.CancelledError:
            # asyncio calls connection_lost itself, uvloop does not just behind connection_made: whoever counts its
            # protocols would wait for ever.
            for protocol in made:
                protocol.connection_lost(None)
            raise

    async def _first_byte(self, connection: socket.socket, within_s: float) -> bytes:
        """What the other end begins with; it stays unread. Raises TimeoutError, an OSError, if nothing comes."""
        readable = self._loop.create_future()
        self._loop.add_reader(connection.fileno(), _set, readable)
        try:
            async with asyncio.timeout(within_s):
                await readable
            first = connection.recv(1, socket.MSG_PEEK)
        except BaseException:
            self._loop.remove_reader(connection.fileno())
            connection.close()
            raise
        self._loop.remove_reader(connection.fileno())
        return first


def _set(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)
