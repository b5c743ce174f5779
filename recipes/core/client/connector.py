"""Keeps a client connected: dials, sends, receives, pings, and ends the session when its time is up."""

import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from ipaddress import ip_address
from random import Random
from socket import SOCK_STREAM

import anyio
import anyio.abc

from recipes.core.client.backoff import pauses
from recipes.core.client.hosts import parse_hosts
from recipes.core.client.probe import find_read_write
from recipes.core.client.reasons import nobody_answers, reason_of, shown_host, speaks_tls
from recipes.core.client.session import ConnectionState, Ending, Session
from recipes.core.client.wire import Wire, dial, socket_path
from recipes.core.errors import RecipesError, SessionExpired, WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import ConnectRequest, decode_connect_response, encode_connect_request
from recipes.core.jute.requests import encode_auth

# Errors that end a connection: it breaks, or the server sends bytes that cannot be decoded.
_BROKEN = (OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, WireError)
_MAX_REPLY_BYTES = 64 << 20

log: logging.Logger = logging.getLogger("recipes.client")


def _reconnect_pauses(random: Random) -> Iterator[float]:
    """Pauses between two rounds of all servers.

    Most waits are for an election, which takes about 0.1 s, so the pauses begin short and grow slowly. The longest, a
    second, is for an ensemble that is down for longer, or that accepts us and hangs up again and again.
    """
    return pauses(random, shortest=0.04, longest=1.0, factor=1.5)


def _probe_pauses(random: Random) -> Iterator[float]:
    """Pauses between two rounds of `isro` probes to all servers. Source: ClientCnxn.java, pingRwServer."""
    return pauses(random, shortest=0.1, longest=60.0, factor=2.0)


class Connector:
    """Runs a Session over one connection after the other, and is the Carrier of each connection.

    hosts: names or addresses, with ports. A name is looked up each time its turn comes, and each of its addresses is
    tried. read_only: whether a read-only server may make the session. changed: called at every change of state.
    where: how error messages name the servers.
    find: called before each further round, returns the hosts; it may start a server. SessionExpired from it means that
    no server will come back. pause: seconds to wait before the first round, for a session that follows a lost one.
    The client's own task runs `run`.
    """

    def __init__(
        self,
        session: Session,
        hosts: list[tuple[str, int]],
        *,
        random: Random,
        clock: Callable[[], float],
        tls: ssl.SSLContext | None,
        read_only: bool,
        changed: Callable[[ConnectionState], None],
        where: str = "",
        find: Callable[[], Awaitable[str]] | None = None,
        pause: float | None = None,
    ) -> None:
        self._session: Session = session
        self._where: str = where
        self._pause: float | None = pause
        self._find: Callable[[], Awaitable[str]] | None = find
        self._hosts: list[tuple[str, int]] = list(hosts)
        random.shuffle(self._hosts)
        self._clock: Callable[[], float] = clock
        self._tls: ssl.SSLContext | None = tls
        self._read_only: bool = read_only
        self._random: Random = random
        self._rounds: Iterator[float] = _reconnect_pauses(random)  # begins anew once a server answers a request or ping
        self._pauses: Iterator[float] = _probe_pauses(random)  # anew after a connection to a server that takes writes
        self._moving: bool = False  # leaving for hosts[0], a server that takes writes
        self._changed: Callable[[ConnectionState], None] = changed
        self._wire: Wire | None = None
        self._frames: FrameReader = FrameReader(_MAX_REPLY_BYTES)
        self._opening: bytes = b""  # sent before the session's requests
        self._greeting: ConnectRequest = session.greeting(read_only)
        self._welcomed: anyio.Event = anyio.Event()
        self._asked_at: float = 0.0
        self._last_sent: float = 0.0
        self._last_received: float = 0.0
        self._ping_due: bool = False
        self._peer: str = ""  # the server that is tried or connected
        self.server: str | None = None  # the connected one: host:port, and the address if that differs
        self.credentials: list[tuple[bytes, bytes]] = []
        self.failures: dict[str, str] = {}  # server -> why it was not reached, since the last connection
        self.last_failure: str = ""  # the newest failure, with its server
        self.last_error: Exception | None = None
        self._said_unreachable: bool = False  # logged once per time without a connection

    def wake(self) -> None:
        """There is something to send."""
        if self._wire is not None:
            self._wire.wake()

    async def run(self) -> None:
        """Stay connected until the session is over."""
        again = self._pause is not None
        if self._pause is not None:
            await anyio.sleep(self._pause)
            self._changed(ConnectionState.CONNECTING)
        while not self._session.lost:
            useful = self._session.answered + self._session.pongs
            connected = (not again or await self._find_again()) and await self._try_all()
            again = True
            if self._moving or self._session.lost:
                self._moving = False
                continue
            if self._session.answered + self._session.pongs != useful:
                self._rounds = _reconnect_pauses(self._random)
            elif not connected and not self._said_unreachable:
                self._said_unreachable = True
                log.info("no server can be reached, trying again: %s", self.why_not())
            await anyio.sleep(next(self._rounds))

    def why_not(self) -> str:
        """Why there is no connection: each server with its reason."""
        return "; ".join(f"{name}: {why}" for name, why in sorted(self.failures.items())) or "none has answered yet"

    async def _find_again(self) -> bool:
        """Ask `find`, if there is one, where the servers are now. Return whether there are hosts to try."""
        if self._find is None:
            return True
        try:
            self._hosts = parse_hosts(await self._find())[0]
        except SessionExpired as error:
            self.end(partial(SessionExpired, str(error)), final=True)
        except (OSError, RecipesError) as error:
            self._failed(_named(*self._hosts[0]), error)
        else:
            return True
        return False

    async def _try_all(self) -> bool:
        """Try each server once, staying on each connection until it breaks. Return whether any was made."""
        connected = False
        for host, port in self._hosts:
            for address in (addresses := await self._look_up(host, port)):
                connected |= await self._connect(host, address, port, self._patience(len(addresses)))
                if self._moving or self._session.lost:
                    return connected
        return connected

    async def watch_deadline(self) -> None:
        """End the session when, by this clock, the servers may have ended it."""
        session = self._session
        while not session.lost:
            left = session.expires_at - self._clock()
            if left <= 0:
                why = f" ({self.last_failure})" if self.last_failure else ""
                self.end(partial(SessionExpired, f"session expired: no server was heard from in time{why}"))
                return
            left = min(left, session.timeout / 4)
            if not session.id:
                left = min(left, self._limit_waiting())
            with anyio.move_on_after(left):
                await session.lost_event.wait()

    def _limit_waiting(self) -> float:
        """Fail calls that have waited too long for a session; return the seconds until the next call is due."""
        session, now = self._session, self._clock()
        why = str(nobody_answers(self._where, self.failures))
        since = session.give_up(now - session.timeout, why)
        return session.timeout if since is None else max(0.0, since + session.timeout - now)

    def end(self, ending: Ending, *, final: bool = False) -> None:
        """The session is over."""
        self._session.end(ending, final=final)
        self._changed(ConnectionState.LOST)

    def outgoing(self) -> bytes:
        """Called by the wire: the bytes to send now."""
        frames, self._opening = self._opening, b""
        if self._welcomed.is_set():
            now = self._clock()
            frames += self._session.outgoing(now)
            if self._ping_due:
                self._ping_due = False
                frames += self._session.ping(now)
            if frames:
                self._last_sent = now
        return frames

    def received(self, data: bytes) -> None:
        """Called by the wire: a server's bytes. Raises WireError."""
        self._last_received = self._clock()
        welcomed = self._welcomed.is_set()
        if not welcomed and speaks_tls(data):
            raise WireError("it speaks TLS, and this client does not: give connect() a context, tls=...")
        for payload in self._frames.feed(data):
            if self._session.lost:
                return
            if welcomed:
                self._session.receive(payload)
            else:
                self._welcome(payload)
                welcomed = True
        if self._session.unsent:  # calls that were held back until there were replies
            self.wake()

    def _patience(self, addresses: int) -> float:
        """Seconds that a server may take to accept, and again to shake hands.

        A silent server must leave the others their turn while the session lives.
        """
        return max(0.2, self._session.timeout / (2 * len(self._hosts) * addresses))

    async def _look_up(self, host: str, port: int) -> list[str]:
        if socket_path(host) is not None:
            return [host]
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        try:
            with anyio.fail_after(self._patience(1)):
                found = await anyio.getaddrinfo(host, port, type=SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            timed_out = isinstance(error, TimeoutError)
            self._failed(
                _named(host, port), TimeoutError(f"the name {host} was not resolved in time") if timed_out else error
            )
            return []
        return list(dict.fromkeys(str(where[0]) for *_, where in found))

    async def _connect(self, host: str, address: str, port: int, patience: float) -> bool:
        """Connect to one address and stay until the connection breaks. Return whether the server accepted us."""
        session = self._session
        self._peer = name = _named(host, port, address)
        self._frames = FrameReader(_MAX_REPLY_BYTES)
        self._welcomed = anyio.Event()
        self._last_received = self._last_sent = self._asked_at = self._clock()
        self._greeting = session.greeting(self._read_only)
        self._opening = frame(encode_connect_request(self._greeting))
        try:
            with anyio.fail_after(patience):
                wire = await dial(self, host, address, port, self._tls)
            async with anyio.create_task_group() as group:
                group.start_soon(self._mind, name, patience, group)
                try:
                    self._wire = wire
                    wire.wake()
                    await wire.run()
                except _BROKEN as error:
                    self._failed(name, error)
                group.cancel_scope.cancel()
        except TimeoutError:  # an OSError too
            self._failed(name, TimeoutError("it does not answer"))
        except _BROKEN as error:
            self._failed(name, error)
        self._wire = self.server = None
        if not session.lost and self._welcomed.is_set():
            session.disconnected()
            self._changed(ConnectionState.SUSPENDED)
        return self._welcomed.is_set()

    def _welcome(self, payload: bytes) -> None:
        session = self._session
        response = decode_connect_response(payload)
        if response.read_only and not (self._greeting.read_only and response.timeout_ms > 0):
            raise WireError("the server is read-only")  # so its refusal of our session proves nothing
        if response.timeout_ms <= 0:
            if self._greeting.session_id == 0:
                raise WireError("it refused a new session")
            self.end(partial(SessionExpired, f"session expired, according to {self._peer}"))
            return
        session.opened(response, self._asked_at)
        self._opening = b"".join([_auth_frame(*pair) for pair in self.credentials] + session.restore())
        session.credentials_sent(len(self.credentials))
        self._welcomed.set()
        self.wake()
        if not response.read_only:
            self._pauses = _probe_pauses(self._random)
        self.server = self._peer
        self.failures.clear()
        self._said_unreachable = False
        self._changed(ConnectionState.READ_ONLY if response.read_only else ConnectionState.CONNECTED)

    async def _mind(self, name: str, patience: float, group: anyio.abc.TaskGroup) -> None:
        """Hang up when the server is silent or answers no request for too long; ping a third of the timeout apart."""
        scope = group.cancel_scope
        with anyio.move_on_after(patience):
            await self._welcomed.wait()
        if not self._welcomed.is_set():
            self._failed(name, TimeoutError("it does not answer"))
            scope.cancel()
            return
        if self._session.read_only:
            group.start_soon(self._look_for_better, scope)
        third = self._session.timeout / 3
        answered, since = self._session.answered, self._clock()
        while True:
            now = self._clock()
            if self._session.answered != answered or not self._session.is_waiting():
                answered, since = self._session.answered, now
            fell_silent = now - self._last_received > 2 * third
            if fell_silent or now - since > 3 * third:
                self._failed(name, TimeoutError("it fell silent" if fell_silent else "it answers no request"))
                scope.cancel()
                return
            if now - self._last_sent >= third * 0.9:
                self._ping_due = True
                self.wake()
            await anyio.sleep(third / 4)

    def _failed(self, name: str, error: Exception) -> None:
        reason = reason_of(
            error, tls=self._tls is not None, up=self._wire is not None, welcomed=self._welcomed.is_set()
        )
        self.failures[name] = reason
        self.last_failure, self.last_error = f"{name}: {self.failures[name]}", error

    async def _look_for_better(self, scope: anyio.CancelScope) -> None:
        """Look for a server that takes writes; once there is one, hang up on this one to move there."""
        found = await find_read_write(self._hosts, self._tls, self._pauses, self._patience(1))
        self._hosts = [found, *(other for other in self._hosts if other != found)]
        self._moving = True
        scope.cancel()


def _auth_frame(scheme: bytes, credentials: bytes) -> bytes:
    return frame(pack_int(op.AUTH_XID) + pack_int(op.AUTH) + encode_auth(scheme, credentials))


def _named(host: str, port: int, address: str = "") -> str:
    where = shown_host(host, port)
    return where if address in ("", host) else f"{where} ({address})"
