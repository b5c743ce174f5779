"""What keeps a client connected: it dials, sends, receives, pings, and ends the session when its time is up."""

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

_MAX_REPLY_BYTES = 64 << 20
_BACKOFF = wait_random_exponential(multiplier=0.05, max=1.0)


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
        self._expired = False
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
                with anyio.fail_after(max(0.5, self._session.timeout / len(self._addresses))):
                    stream = await self._dial(host, port)
                async with stream:
                    connected = await self._serve(stream)
            except (
                OSError,
                anyio.BrokenResourceError,
                anyio.EndOfStream,
                anyio.ClosedResourceError,
                WireError,
            ) as error:
                self.last_error = error
            except TimeoutError:
                self.last_error = TimeoutError(f"{host}:{port} does not answer")
            if self._session.lost:
                self._changed(ConnectionState.LOST)
                break
            self._session.disconnected()
            if connected:
                attempt = 0
                self._changed(ConnectionState.SUSPENDED)
            attempt += 1
            if attempt >= len(self._addresses):
                retry = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
                retry.attempt_number = min(attempt // len(self._addresses), 8)
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
        with anyio.fail_after(session.timeout):
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
        if first:
            await stream.send(b"".join(first))
        self._changed(ConnectionState.CONNECTED)
        async with anyio.create_task_group() as group:
            group.start_soon(self._send, stream, group.cancel_scope)
            group.start_soon(self._ping, stream, group.cancel_scope)
            try:
                for payload in payloads[1:]:
                    session.receive(payload)
                while True:
                    for payload in frames.feed(await stream.receive(1 << 18)):
                        session.receive(payload)
                    self._last_received = anyio.current_time()
            except (
                OSError,
                anyio.BrokenResourceError,
                anyio.EndOfStream,
                anyio.ClosedResourceError,
                WireError,
            ) as error:
                self.last_error = error
            group.cancel_scope.cancel()
        return True

    async def _send(self, stream: anyio.abc.ByteStream, scope: anyio.CancelScope) -> None:
        session = self._session
        try:
            while True:
                if session.unsent:
                    now = anyio.current_time()
                    self._last_sent = now
                    await stream.send(session.outgoing(now))
                    continue
                self._wake = anyio.Event()
                await self._wake.wait()
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            scope.cancel()

    async def _ping(self, stream: anyio.abc.ByteStream, scope: anyio.CancelScope) -> None:
        """Ping when idle for a third of the timeout; hang up when nothing came for two thirds."""
        session = self._session
        third = session.timeout / 3
        try:
            while True:
                now = anyio.current_time()
                if now - self._last_received > 2 * third:
                    scope.cancel()
                    return
                if now - self._last_sent >= third * 0.9:
                    self._last_sent = now
                    await stream.send(session.ping(now))
                await anyio.sleep(third / 4)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            scope.cancel()


def _auth_frame(scheme: bytes, credentials: bytes) -> bytes:
    return frame(pack_int(op.AUTH_XID) + pack_int(op.AUTH) + encode_auth(scheme, credentials))


def nobody_answers(hosts: str, error: Exception | None) -> ConnectionLoss:
    """What a newcomer should read when there is no server."""
    return ConnectionLoss(f"no ZooKeeper server answers at {hosts}: {error}")
