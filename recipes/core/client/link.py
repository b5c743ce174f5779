"""What keeps a client connected: it dials, sends, receives, pings, and ends the session when its time is up."""

import os
import ssl
from collections.abc import Callable
from random import Random

import anyio
import anyio.abc
from tenacity import RetryCallState
from tenacity.wait import wait_random_exponential

from recipes.core.client.session import ConnectionState, Session
from recipes.core.errors import ConnectionLoss, RecipesError, SessionExpired, WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import ConnectRequest, decode_connect_response, encode_connect_request
from recipes.core.jute.requests import encode_auth

# How a connection ends when it breaks, or when what comes over it makes no sense.
_BROKEN = (OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, WireError)
_MAX_REPLY_BYTES = 64 << 20
# Between two rounds of all servers. Most waits are for an ensemble that elects, which takes it some 0.1 s: so they begin
# short, and grow slowly, up to a second for one that is down for longer.
_BACKOFF = wait_random_exponential(multiplier=0.04, exp_base=1.5, max=1.0)
_LONGEST_BACKOFF_ROUND = 9


def parse_hosts(hosts: str) -> tuple[list[tuple[str, int]], str]:
    """Addresses and chroot of `host:port,host:port/chroot`. Raises ValueError, which names what is wrong."""
    text, slash, chroot = hosts.partition("/")
    addresses = []
    for part in text.split(","):
        host, port = part.strip(), "2181"
        if host.startswith("["):
            host, _, rest = host[1:].partition("]")
            port = rest[1:] or port
        elif ":" in host:
            host, _, port = host.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{part!r} in {hosts!r}: expected HOST or HOST:PORT")
        addresses.append((host, int(port)))
    return addresses, f"/{chroot}".rstrip("/") if slash else ""


class Link:
    """Runs a Session over one connection after the other.

    changed: called at every change of state. Its loop is `run`, for the client's owner task.
    """

    def __init__(
        self,
        session: Session,
        addresses: list[tuple[str, int]],
        *,
        random: Random,
        tls: ssl.SSLContext | None,
        changed: Callable[[ConnectionState], None],
    ) -> None:
        self._session = session
        self._addresses = list(addresses)
        random.shuffle(self._addresses)
        self._tls = tls
        self._changed = changed
        self._wake = anyio.Event()
        self._last_sent = self._last_received = 0.0
        self._ping_due = False
        self.credentials: list[tuple[bytes, bytes]] = []
        self.last_error: Exception | None = None

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Stay connected until the session is over."""
        attempt = 0
        while not self._session.lost:
            host, port = self._addresses[attempt % len(self._addresses)]
            connected = False
            try:
                with anyio.fail_after(self._patience()):
                    stream = await self._dial(host, port)
                async with stream:
                    connected = await self._serve(stream)
            except _BROKEN as error:
                self.last_error = error
            except TimeoutError:
                self.last_error = TimeoutError(f"{host}:{port} does not answer")
            if self._session.lost:
                return
            self._session.disconnected()
            if connected:
                attempt = 0
                self._changed(ConnectionState.SUSPENDED)
            attempt += 1
            if attempt >= len(self._addresses):
                retry = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
                retry.attempt_number = min(attempt // len(self._addresses), _LONGEST_BACKOFF_ROUND)
                await anyio.sleep(_BACKOFF(retry))

    async def watch_deadline(self) -> None:
        """End the session when, by this clock, the servers may have ended it."""
        session = self._session
        while not session.lost:
            left = session.expires_at - anyio.current_time()
            if left <= 0:
                self.end(SessionExpired("session expired: no server was heard from in time"))
                return
            with anyio.move_on_after(min(left, session.timeout / 4)):
                await session.lost_event.wait()

    def end(self, error: RecipesError) -> None:
        """The session is over."""
        self._session.end(error)
        self._changed(ConnectionState.LOST)

    def _patience(self) -> float:
        """Seconds a server may take to accept, and again to shake hands: so that one that is silent leaves the
        others their turn while the session lives."""
        return max(0.2, self._session.timeout / (2 * len(self._addresses)))

    async def _dial(self, host: str, port: int) -> anyio.abc.ByteStream:
        if self._tls is None:
            return await anyio.connect_tcp(host, port)
        return await anyio.connect_tcp(host, port, tls=True, ssl_context=self._tls, tls_standard_compatible=False)

    async def _serve(self, stream: anyio.abc.ByteStream) -> bool:
        """Shake hands and carry requests until the connection breaks; False when it never came to that."""
        session = self._session
        frames = FrameReader(_MAX_REPLY_BYTES)
        sent_at = anyio.current_time()
        timeout_ms = int(session.timeout * 1000)
        await stream.send(
            frame(encode_connect_request(ConnectRequest(session.last_zxid, timeout_ms, session.id, session.password)))
        )
        payloads: list[bytes] = []
        with anyio.fail_after(self._patience()):
            while not payloads:
                payloads = frames.feed(await stream.receive())
        response = decode_connect_response(payloads[0])
        if response.timeout_ms <= 0:
            self.end(SessionExpired())
            return False
        session.id, session.password = response.session_id, response.password
        session.timeout = response.timeout_ms / 1000
        session.expires_at = sent_at + session.timeout
        self._last_sent = self._last_received = anyio.current_time()
        first = [_auth_frame(*pair) for pair in self.credentials] + session.restore()
        session.credentials_sent(len(self.credentials))
        if first:
            await stream.send(b"".join(first))
        self._changed(ConnectionState.CONNECTED)
        async with anyio.create_task_group() as group:
            group.start_soon(self._send, stream, group.cancel_scope)
            group.start_soon(self._ping, group.cancel_scope)
            try:
                for payload in payloads[1:]:
                    session.receive(payload)
                while True:
                    for payload in frames.feed(await stream.receive(1 << 18)):
                        session.receive(payload)
                    self._last_received = anyio.current_time()
            except _BROKEN as error:
                self.last_error = error
            group.cancel_scope.cancel()
        return True

    async def _send(self, stream: anyio.abc.ByteStream, scope: anyio.CancelScope) -> None:
        session = self._session
        try:
            while True:
                now = anyio.current_time()
                frames = session.outgoing(now)
                if self._ping_due:
                    self._ping_due = False
                    frames += session.ping(now)
                if frames:
                    self._last_sent = now
                    await stream.send(frames)
                    continue
                self._wake = anyio.Event()
                await self._wake.wait()
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            scope.cancel()

    async def _ping(self, scope: anyio.CancelScope) -> None:
        """Ping when idle for a third of the timeout; hang up when nothing came for two thirds."""
        third = self._session.timeout / 3
        while True:
            now = anyio.current_time()
            if now - self._last_received > 2 * third:
                self.last_error = TimeoutError("the server fell silent")
                scope.cancel()
                return
            if now - self._last_sent >= third * 0.9:
                self._ping_due = True  # the writer sends it: a stream takes one writer at a time
                self.wake()
            await anyio.sleep(third / 4)


def _auth_frame(scheme: bytes, credentials: bytes) -> bytes:
    return frame(pack_int(op.AUTH_XID) + pack_int(op.AUTH) + encode_auth(scheme, credentials))


def nobody_answers(hosts: str, error: Exception | None) -> ConnectionLoss:
    """What a newcomer should read when there is no server."""
    # anyio says only that every attempt failed; what the system said is behind it.
    reason: BaseException | None = error
    while isinstance(reason, OSError) and reason.errno is None and reason.__cause__ is not None:
        reason = reason.__cause__
        if isinstance(reason, BaseExceptionGroup):
            reason = reason.exceptions[-1]
    said = os.strerror(reason.errno) if isinstance(reason, ConnectionError) and reason.errno else reason or "no reply"
    return ConnectionLoss(f"no ZooKeeper server answers at {hosts}: {said}")
