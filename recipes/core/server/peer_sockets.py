"""Sockets of both ports between servers: dialling, listening, TLS, and a limit on silence."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from recipes.core.errors import WireError
from recipes.core.server.accepting import Tls
from recipes.core.server.certificate import why_not
from recipes.core.server.listening import Address, Listener, addresses_of, bound, listen
from recipes.core.server.refusals import UNFINISHED, Refusals, handshake_reason, is_of_tls, shown
from recipes.core.server.strangers import Strangers

T = TypeVar("T", bound=asyncio.BaseProtocol)
Endpoint = tuple[str, int]  # host and port

log: logging.Logger = logging.getLogger("recipes.server")

_CONNECT_TIMEOUT_S = 5.0  # zookeeper.cnxTimeout
_DOUBT = "does it trust this server's certificate? is that for this server's host in the server.N lines?"
_LOOKUP_TIMEOUT_S = 1.0  # after that dial the address that answered last, if there is one
# How a connection attempt may fail; a name that cannot be encoded for DNS raises UnicodeError.
UNREACHABLE = (OSError, TimeoutError, UnicodeError)


class PeerSockets:
    """How the servers of an ensemble connect to each other.

    listen_host: the address to listen on; None for all.
    silence_ms: a connection is broken if sent bytes are not acknowledged for this long. Without that limit a link that
        works again after a cut would stay silent for up to two minutes, while TCP waits to retransmit.
    accepts, dials: TLS contexts for accepted connections and for those that this server dials; None for plain TCP.
    accepts_plain: accept connections without TLS beside those with it, while servers are switched one by one.
    hosts: of each server. The certificate of an accepted connection must be for one of those of the server that it
        says it is from; None: its certificate may be any that is trusted.
    """

    def __init__(
        self,
        listen_host: str | None,
        silence_ms: int,
        accepts: ssl.SSLContext | None = None,
        dials: ssl.SSLContext | None = None,
        *,
        accepts_plain: bool = False,
        hosts: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        self._listen_host = listen_host
        self._silence_ms = silence_ms
        self._accepts = accepts
        self._dials = dials
        self._accepts_plain = accepts_plain
        self._hosts = hosts
        self._refusals: Refusals | None = None
        self._own: dict[str | None, list[Address]] = {}
        self._answered: dict[tuple[Endpoint, ...], Endpoint] = {}  # of those of a server, the one that answered last
        self._servers: set[str] = set()  # addresses that a host of the ensemble has, or had
        self._lookups: dict[str, asyncio.Task[list[Any]]] = {}  # under way, by name
        self._reached: dict[tuple[str, int], str] = {}  # (host, port) -> the address that answered last

    async def listen(
        self,
        make: Callable[[], asyncio.BaseProtocol],
        port: int,
        what: str = "port",
        others: Sequence[Endpoint] = (),
    ) -> Listener:
        """Accept connections. what: the port's name, for the log. others: further hosts and ports of this server.

        Raises OSError when none of them can be opened; of those that cannot be there is a warning.
        """
        tls = self._tls(make, what)
        opened: list[Listener] = []
        failed: list[OSError] = []
        for host, number in self._own_endpoints(port, others):
            try:
                opened.append(listen(make, await self._own_addresses(host), number, tls=tls))
            except OSError as error:
                failed.append(error)
        if not opened:
            raise failed[0]
        for why in failed:
            log.warning("%s: one of this server's addresses cannot be opened: %s", what, why.strerror or why)

        def close() -> None:
            for each in opened:
                each.close()

        return Listener(opened[0].port, close)

    def _own_endpoints(self, port: int, others: Sequence[Endpoint]) -> list[tuple[str | None, int]]:
        if self._listen_host is None:
            return [(None, number) for number in dict.fromkeys((port, *(number for _, number in others)))]
        return [(self._listen_host, port), *others]

    def _tls(self, make: Callable[[], asyncio.BaseProtocol], what: str) -> Tls | None:
        if self._accepts is None:
            return None
        refused = partial(self._found_refusals().handshake, what)
        plain = make if self._accepts_plain else None
        return Tls(self._accepts, _CONNECT_TIMEOUT_S, self.strangers(what, UNFINISHED), refused, plain)

    def strangers(self, what: str, which: str) -> Strangers:
        """The limit on connections to one of our ports that have not said yet which server they are from.

        what: the port's name, for the log. which: what there are too many of, such as "connections without a greeting".
        """

        def crowded(address: object, count: int) -> None:
            self._found_refusals().crowded(what, which, address, count)

        return Strangers(crowded, is_server=self.is_server)

    def certified(self, transport: asyncio.BaseTransport) -> Callable[[int], str] | None:
        """Why an accepted connection cannot be from a server, by its sid; empty if it can. None: it may be from any."""
        certificate = transport.get_extra_info("peercert")
        return partial(why_not, self._hosts, certificate) if certificate and self._hosts is not None else None

    def say_refused(self, server: str, host: str, port: int, error: BaseException) -> bool:
        """Log that the TLS handshake with a dialled server failed; False if the error has another cause.

        server: its name in the log, such as "server 3, election port".
        """
        if self._dials is None or not is_of_tls(error):
            return False
        where = f"{server} at {shown((host, port))}"
        self._found_refusals().say(f"{where}: {handshake_reason(error)}", about=f"{where} {type(error)}")
        return True

    def say_broken(self, what: str, address: object, error: WireError) -> None:
        """Log what somebody sent who connected to one of our ports. what: the port."""
        host = address[0] if isinstance(address, tuple) else address
        self._found_refusals().say(f"{what}: hung up on {shown(address)}: {error}", about=f"{what} {host} {error}")

    def say_cut_off(self, server: str, host: str, port: int) -> None:
        """Log that a dialled server closed before it sent anything, as it does when it refuses our certificate."""
        if self._dials is not None:
            where = f"{server} at {shown((host, port))}"
            self._found_refusals().say(f"{where}: it hung up at once: {_DOUBT}", where)

    def _found_refusals(self) -> Refusals:
        if self._refusals is None:
            loop = asyncio.get_running_loop()
            self._refusals = Refusals(loop.time, loop.call_later)
        return self._refusals

    async def check_port(self, port: int, others: Sequence[Endpoint] = ()) -> None:
        """Raise OSError when the port cannot be opened, at none of this server's addresses; accept no connection."""
        failed: list[OSError] = []
        endpoints = self._own_endpoints(port, others)
        for host, number in endpoints:
            try:
                for sock in bound(await self._own_addresses(host), number):
                    sock.close()
            except OSError as error:
                failed.append(error)
        if len(failed) == len(endpoints):
            raise failed[0]

    async def _own_addresses(self, host: str | None) -> list[Address]:
        """A host's addresses, looked up once, at the start: a server must be able to lead without DNS."""
        if host not in self._own:
            self._own[host] = await addresses_of(host)
        return self._own[host]

    async def dial_any(self, make: Callable[[], T], endpoints: Sequence[Endpoint]) -> tuple[asyncio.Transport, T]:
        """Dial a server that has several addresses: first the one that answered last. Raises one of UNREACHABLE."""
        if len(endpoints) == 1:
            return await self.dial(make, *endpoints[0])
        of_server = tuple(endpoints)
        last = self._answered.get(of_server)
        first_error: BaseException | None = None
        for endpoint in sorted(of_server, key=lambda each: each != last):
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_S / len(of_server)):
                    connected = await self.dial(make, *endpoint)
            except UNREACHABLE as error:
                first_error = first_error or error
            else:
                self._answered[of_server] = endpoint
                return connected
        raise first_error or OSError("no address")

    async def dial(self, make: Callable[[], T], host: str, port: int) -> tuple[asyncio.Transport, T]:
        """Look the host up anew and connect. Raises one of UNREACHABLE.

        If the attempt is cancelled while the connection is being made, `connection_lost` of the protocol is called,
        possibly twice.
        """
        made: list[T] = []

        def make_one() -> T:
            made.append(make())
            return made[-1]

        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                return await self._connect(make_one, host, port)
        except BaseException:
            # asyncio calls connection_lost itself, uvloop does not: code that counts sockets would wait for ever.
            for protocol in made:
                protocol.connection_lost(None)
            raise

    async def _connect(self, make: Callable[[], T], host: str, port: int) -> tuple[asyncio.Transport, T]:
        """Connect to the first of the host's addresses that answers."""
        loop = asyncio.get_running_loop()
        name = host if self._dials is not None else None
        failed: list[OSError] = []
        for address in await self._addresses(host, port):
            try:
                connected = await loop.create_connection(make, address, port, ssl=self._dials, server_hostname=name)
            except OSError as error:
                failed.append(error)
            else:
                self._reached[host, port] = address
                return connected
        raise failed[0]

    @property
    def silence_s(self) -> float:
        """How long the other end may leave bytes unacknowledged before the connection breaks."""
        return self._silence_ms / 1000

    def is_server(self, address: str) -> bool:
        """Whether a connection from this address may be one of the ensemble's servers."""
        return address in self._servers

    def learn_servers(self, hosts: Iterable[str]) -> None:
        """Look up the addresses of these hosts, so that `is_server` knows them."""
        for host in hosts:
            self._look_up(host)

    async def _addresses(self, host: str, port: int) -> list[str]:
        """The host's addresses from DNS, or the one reached last if DNS fails or is slow: an ensemble survives its DNS.

        Attempts to dial a server come faster than a resolver gives up, so they share one lookup.
        """
        lookup = self._look_up(host)
        last = self._reached.get((host, port))
        try:
            async with asyncio.timeout(None if last is None else _LOOKUP_TIMEOUT_S):
                found = await asyncio.shield(lookup)
        except (OSError, UnicodeError):
            if last is None:
                raise
            return [last]
        return [str(address[0]) for *_, address in found]

    def _look_up(self, host: str) -> "asyncio.Task[list[Any]]":
        lookup = self._lookups.get(host)
        if lookup is None:
            question = asyncio.get_running_loop().getaddrinfo(host, 0, type=socket.SOCK_STREAM)
            lookup = self._lookups[host] = asyncio.ensure_future(question)
            lookup.add_done_callback(partial(self._looked_up, host))
        return lookup

    def _looked_up(self, host: str, lookup: asyncio.Task[list[Any]]) -> None:
        self._lookups.pop(host)
        # Also marks an exception as retrieved, if nobody waits for it any more.
        if not lookup.cancelled() and lookup.exception() is None:
            self._servers.update(str(address[0]) for *_, address in lookup.result())

    def limit_silence(self, transport: asyncio.BaseTransport) -> None:
        """Set `silence_ms` on the socket, on systems that have the option."""
        sock = transport.get_extra_info("socket")
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if sock is not None and option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, self._silence_ms)
