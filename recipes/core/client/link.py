"""What keeps a client connected: it dials, sends, receives, pings, and ends the session when its time is up."""

import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from ipaddress import ip_address
from random import Random
from socket import SOCK_STREAM

import anyio
import anyio.abc
from tenacity import RetryCallState
from tenacity.wait import wait_random_exponential

from recipes.core import paths
from recipes.core.client.probe import find_read_write, pauses
from recipes.core.client.session import ConnectionState, Ending, Session
from recipes.core.client.wire import Wire, dial, socket_path
from recipes.core.errors import BadArguments, ConnectionLoss, RecipesError, SessionExpired, WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import decode_connect_response, encode_connect_request
from recipes.core.jute.requests import encode_auth

# How a connection ends when it breaks, or when what comes over it makes no sense.
_BROKEN = (OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, WireError)
_MAX_REPLY_BYTES = 64 << 20
# Between two rounds of all servers. Most waits are for an ensemble that elects, which takes some 0.1 s: so they begin
# short, and grow slowly, up to a second for one that is down for longer.
_BACKOFF = wait_random_exponential(multiplier=0.04, exp_base=1.5, max=1.0)
_LONGEST_BACKOFF_ROUND = 9


def parse_hosts(hosts: str) -> tuple[list[tuple[str, int]], str]:
    """Hosts and chroot of `host:port,host:port/chroot` or `unix:PATH:/chroot`; a socket is a host with port 0.

    Raises BadArguments, which names what is wrong.
    """
    path = socket_path(hosts)
    if path is not None:
        path, _, rest = path.partition(":/")
        if not path.startswith("/"):
            raise BadArguments("", f"{hosts!r}: expected unix:/PATH, and :/CHROOT behind it where there is one")
        found = [(f"unix:{path}", 0)]
    else:
        text, _, rest = hosts.partition("/")
        found = [_host_and_port(part, hosts) for part in text.split(",")]
    chroot = f"/{rest}" if rest else ""
    if not chroot:
        return found, ""
    if wrong := paths.why_invalid(chroot):
        raise BadArguments(chroot, f"not a chroot: {wrong}")
    return found, chroot


def _host_and_port(part: str, hosts: str) -> tuple[str, int]:
    host, port = part.strip(), "2181"
    if host.startswith("["):
        host, _, behind = host[1:].partition("]")
        port = behind[1:] or port
    elif ":" in host:
        host, _, port = host.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadArguments("", f"{part!r} in {hosts!r}: expected HOST or HOST:PORT")
    return host, int(port)


class Link:
    """Runs a Session over one connection after the other; the Carrier of each.

    hosts: names or addresses, with ports. A name is looked up each time its turn comes, and every address it has
    is tried. read_only: whether a read-only server may make the session. changed: called at every change of state.
    find: asked where the servers are before each further round; it may start one, and SessionExpired from it says that
    none will ever come back. Its loop is `run`, for the client's owner task.
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
        find: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._session = session
        self._find = find
        self._hosts = list(hosts)
        random.shuffle(self._hosts)
        self._clock = clock
        self._tls = tls
        self._read_only = read_only
        self._pauses = pauses(random)  # they go on doubling until a server that takes writes has taken us in
        self._random = random
        self._moving = False  # to the first of the hosts, which takes writes
        self._changed = changed
        self._wire: Wire | None = None
        self._frames = FrameReader(_MAX_REPLY_BYTES)
        self._opening = b""  # what goes out before the session's requests
        self._welcomed = anyio.Event()
        self._asked_at = self._last_sent = self._last_received = 0.0
        self._ping_due = False
        self.credentials: list[tuple[bytes, bytes]] = []
        self.failures: dict[str, Exception] = {}  # the last one of each host, named as in the string of hosts
        self.last_error: Exception | None = None

    def wake(self) -> None:
        """There is something to send."""
        if self._wire is not None:
            self._wire.wake()

    async def run(self) -> None:
        """Stay connected until the session is over."""
        failures = 0  # rounds over all hosts without a connection
        again = False
        while not self._session.lost:
            connected = (not again or await self._find_again()) and await self._try_all()
            again = True
            if self._moving or self._session.lost:
                self._moving = False
                continue
            failures = 1 if connected else failures + 1
            retry = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
            retry.attempt_number = min(failures, _LONGEST_BACKOFF_ROUND)
            await anyio.sleep(_BACKOFF(retry))

    async def _find_again(self) -> bool:
        """Ask where the servers are by now, if they come and go; whether there are any to try."""
        if self._find is None:
            return True
        try:
            self._hosts = parse_hosts(await self._find())[0]
        except SessionExpired as error:
            self.end(partial(SessionExpired, str(error)))
        except (OSError, RecipesError) as error:
            self._failed(_name(*self._hosts[0]), error)
        else:
            return True
        return False

    async def _try_all(self) -> bool:
        """Keep connections to one server after the other, until each had its turn; whether there came any."""
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
                why = f" ({_said(_root(self.last_error))})" if self.last_error is not None else ""
                self.end(partial(SessionExpired, f"session expired: no server was heard from in time{why}"))
                return
            with anyio.move_on_after(min(left, session.timeout / 4)):
                await session.lost_event.wait()

    def end(self, ending: Ending) -> None:
        """The session is over."""
        self._session.end(ending)
        self._changed(ConnectionState.LOST)

    def outgoing(self) -> bytes:
        """Called by the wire: what is to be sent now."""
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
        for payload in self._frames.feed(data):
            if self._session.lost:
                return
            if self._welcomed.is_set():
                self._session.receive(payload)
            else:
                self._welcome(payload)

    def _patience(self, addresses: int) -> float:
        """Seconds a server may take to accept, and again to shake hands: so that one that is silent leaves the
        others their turn while the session lives."""
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
            self._failed(f"{host}:{port}", TimeoutError(f"no answer who {host} is") if timed_out else error)
            return []
        return list(dict.fromkeys(str(where[0]) for *_, where in found))

    async def _connect(self, host: str, address: str, port: int, patience: float) -> bool:
        """Keep one connection until it breaks; False when it never came to one."""
        session, name = self._session, _name(host, port)
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
        self._wire = None
        if not session.lost and self._welcomed.is_set():
            session.disconnected()
            self._changed(ConnectionState.SUSPENDED)
        return self._welcomed.is_set()

    def _welcome(self, payload: bytes) -> None:
        session = self._session
        response = decode_connect_response(payload)
        if response.read_only and not (self._greeting.read_only and response.timeout_ms > 0):
            raise WireError("the server is read-only")  # and cannot say of a session of the others that it is over
        if response.timeout_ms <= 0:
            self.end(SessionExpired)
            return
        session.opened(response, self._asked_at)
        self._opening = b"".join([_auth_frame(*pair) for pair in self.credentials] + session.restore())
        session.credentials_sent(len(self.credentials))
        self._welcomed.set()
        self.wake()
        if not response.read_only:
            self._pauses = pauses(self._random)
        self._changed(ConnectionState.READ_ONLY if response.read_only else ConnectionState.CONNECTED)

    async def _mind(self, name: str, patience: float, group: anyio.abc.TaskGroup) -> None:
        """Hang up when nothing came for too long; ping when idle for a third of the timeout."""
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
        while True:
            now = self._clock()
            if now - self._last_received > 2 * third:
                self._failed(name, TimeoutError("it fell silent"))
                scope.cancel()
                return
            if now - self._last_sent >= third * 0.9:
                self._ping_due = True
                self.wake()
            await anyio.sleep(third / 4)

    def _failed(self, name: str, error: Exception) -> None:
        self.failures[name] = self.last_error = error

    async def _look_for_better(self, scope: anyio.CancelScope) -> None:
        """Once there is a server that takes writes, hang up on this one to go there."""
        found = await find_read_write(self._hosts, self._tls, self._pauses, self._patience(1))
        self._hosts = [found, *(other for other in self._hosts if other != found)]
        self._moving = True
        scope.cancel()


def _name(host: str, port: int) -> str:
    """As in the string of hosts."""
    return f"{host}:{port}" if port else host


def _auth_frame(scheme: bytes, credentials: bytes) -> bytes:
    return frame(pack_int(op.AUTH_XID) + pack_int(op.AUTH) + encode_auth(scheme, credentials))


def nobody_answers(hosts: str, failures: Mapping[str, Exception]) -> ConnectionLoss:
    """What a newcomer should read when no server takes the client in. failures: the last one of each host."""
    reasons = {name: _root(error) for name, error in failures.items()}
    certificates = any(isinstance(reason, ssl.SSLCertVerificationError) for reason in reasons.values())
    what = "no trusted server at" if certificates else "no ZooKeeper server answers at"
    if len(reasons) < 2:
        said = "".join(map(_said, reasons.values())) or "no reply"
    else:
        said = "; ".join(f"{name}: {_said(reason)}" for name, reason in sorted(reasons.items()))
    return ConnectionLoss(f"{what} {hosts}: {said}")


def _root(error: BaseException) -> BaseException:
    # anyio says only that every attempt failed; what the system said is behind it.
    while isinstance(error, OSError) and error.errno is None and error.__cause__ is not None:
        error = error.__cause__
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[-1]
    return error


def _said(reason: BaseException) -> str:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate: {reason.verify_message}"
    if isinstance(reason, anyio.EndOfStream):
        return "it hung up, as a server does that has no leader or no room on its disk"
    if isinstance(reason, ConnectionError) and reason.errno:
        return os.strerror(reason.errno)
    return str(reason) or "no reply"
