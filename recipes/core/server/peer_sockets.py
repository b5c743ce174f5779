"""What both ports between servers need of a socket: TLS at either end, and an end to silence."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from recipes.core.server.listening import Listener, addresses_of, bound, listen

T = TypeVar("T", bound=asyncio.BaseProtocol)

_CONNECT_TIMEOUT_S = 5.0  # zookeeper.cnxTimeout
# What a connection attempt may end in; a name that cannot be encoded for DNS is a UnicodeError.
UNREACHABLE = (OSError, TimeoutError, UnicodeError)


class PeerSockets(NamedTuple):
    """How the servers of an ensemble connect to each other.

    listen_host: the address to listen on; None for all.
    silence_ms: a connection on which sent bytes are not acknowledged for so long is taken as broken. Without that limit
        a link that was cut would stay silent for up to two minutes after it is whole again, while TCP waits to repeat.
    accepts, dials: TLS at the end that was called and the one that calls; None for plain TCP.
    """

    listen_host: str | None
    silence_ms: int
    accepts: ssl.SSLContext | None = None
    dials: ssl.SSLContext | None = None

    async def listen(self, make: Callable[[], asyncio.BaseProtocol], port: int) -> Listener:
        """Accept connections. Raises OSError when the port cannot be had."""
        limit_s = None if self.accepts is None else _CONNECT_TIMEOUT_S
        addresses = await addresses_of(self.listen_host)
        return await listen(make, addresses, port, ssl=self.accepts, ssl_handshake_timeout=limit_s)

    async def check_port(self, port: int) -> None:
        """Raise OSError when the port cannot be had, without accepting anybody."""
        for sock in bound(await addresses_of(self.listen_host), port):
            sock.close()

    async def dial(self, make: Callable[[], T], host: str, port: int) -> tuple[asyncio.Transport, T]:
        """Connect, with the name looked up anew. Raises one of UNREACHABLE.

        An attempt that is cancelled while its connection comes up tells the protocol that it is lost, perhaps twice.
        """
        loop = asyncio.get_running_loop()
        name = host if self.dials is not None else None
        made: list[T] = []

        def make_one() -> T:
            made.append(make())
            return made[-1]

        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                return await loop.create_connection(make_one, host, port, ssl=self.dials, server_hostname=name)
        except BaseException:
            # asyncio does so itself, uvloop closes the socket without a word: whoever keeps count waits for ever.
            for protocol in made:
                protocol.connection_lost(None)
            raise

    def limit_silence(self, transport: asyncio.BaseTransport) -> None:
        """Set `silence_ms` where the system knows it."""
        sock = transport.get_extra_info("socket")
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if sock is not None and option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, self.silence_ms)
