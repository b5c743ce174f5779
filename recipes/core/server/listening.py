"""Listening: at every address of a host, as Java does, or on a Unix socket."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recipes.core.server.accepting import BACKLOG, ConnectionAcceptor, Tls

if TYPE_CHECKING:
    from recipes.core.server.client_places import ClientPlaces

Address = tuple[socket.AddressFamily, tuple[Any, ...]]  # the socket module's form; its port means nothing


class Listener(NamedTuple):
    """An open listening port. port: its number; 0 for a Unix socket. close(): stop listening."""

    port: int
    close: Callable[[], None]


def listen(
    make: Callable[..., asyncio.BaseProtocol],
    addresses: Sequence[Address],
    port: int,
    *,
    backlog: int = BACKLOG,
    tls: Tls | None = None,
    places: "ClientPlaces | None" = None,
) -> Listener:
    """Accept connections at the addresses that `bound` can bind.

    make, places: as of a ConnectionAcceptor. Raises OSError when the port cannot be opened.
    """
    sockets = bound(addresses, port)
    return Listener(sockets[0].getsockname()[1], ConnectionAcceptor(make, sockets, backlog, tls, places).close)


def listen_on_socket(
    make: Callable[..., asyncio.BaseProtocol],
    path: Path,
    *,
    backlog: int = BACKLOG,
    places: "ClientPlaces | None" = None,
) -> Listener:
    """Accept this user's connections on a Unix socket.

    path: a file there is removed first; only this user may have access to its directory. Raises OSError.
    """
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        _bind_for_owner(sock, path)
        stack.pop_all()
    return Listener(0, ConnectionAcceptor(make, [sock], backlog, places=places).close)


def _bind_for_owner(sock: socket.socket, path: Path) -> None:
    path.unlink(missing_ok=True)
    sock.bind(os.fspath(path))
    path.chmod(0o600)  # in time: nobody can connect before the socket listens


async def addresses_of(host: str | None) -> list[Address]:
    """The addresses to listen on for `host`. None, and 0.0.0.0 as in Java, mean all, over IPv4 and IPv6."""
    name = None if host == "0.0.0.0" else host
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def bound(addresses: Sequence[Address], port: int) -> list[socket.socket]:
    """A socket for each address, bound to `port` but not listening yet.

    Skips addresses that this machine does not have, for example because IPv6 is off. Raises OSError when no address is
    left, or the port cannot be opened.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, (host, _, *more) in addresses:
            try:
                sockets.append(_bound(family, (host, port, *more)))
            except OSError as error:
                if error.errno not in (EADDRNOTAVAIL, EAFNOSUPPORT):
                    raise
                missing = error
            else:
                port = sockets[0].getsockname()[1]  # port 0: the first socket's number serves for all
        if missing is not None and not sockets:
            raise missing
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bound(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    sock = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # IPv4 has its own socket: ACLs name plain IPv4 addresses
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError as error:
        if sock is not None:
            sock.close()
        reason = (error.strerror or str(error)).lower()
        raise OSError(error.errno, f"cannot listen on port {address[1]} of {address[0]}: {reason}") from None
    return sock
