"""The quorum port: the links between a leader and its learners.

Bytes received on a socket go to its Link, whose output leaves with one write per turn. A dump of the tree leaves slice
by slice, as fast as the learner reads it and for a few ms per turn, so that other clients and servers need not wait.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Protocol

from recipes.core.outbox import PeerLink
from recipes.core.server.peer_sockets import UNREACHABLE, Endpoint, PeerSockets

log: logging.Logger = logging.getLogger("recipes.server")

# A learner may decide before its leader does: the leader waits up to 200 ms for better votes, and then listens.
_DIAL_DELAYS_S = (0.01, 0.02, 0.04, 0.08, 0.1, 0.1, 0.1)
_LISTEN_AGAIN_S = 0.1
_SLICE_LIMIT_S = 0.005
_READY_BYTES = 1 << 20  # of a dump, in the socket's buffer ahead of the learner
_MOST_UNSENT_BYTES = 256 << 20  # a learner that leaves more than this unread is disconnected, and joins anew


class LinkOwner(Protocol):
    """The owner of the links: a Replica."""

    def accept(self) -> PeerLink | None:
        """A server has connected; None: close the connection."""

    def dialled(self, sid: int, /) -> PeerLink | None:
        """The requested connection is up; None: it is no longer wanted, close it."""

    def dial_failed(self, sid: int, /) -> None:
        """The requested connection cannot be made."""


class QuorumPort:
    """This server's links to its leader, or to its learners.

    sid: this server. addresses: host and quorum port of every server, by sid, this one's included. others: further ones
    of a server that has several.
    patience_ms: how long a leader tries to open its port.
    schedule(): called before every call of the owner, to request a turn.
    fail(error): called with an error after which the server cannot go on: an unexpected one, or the failure to open the
        port. A leader without its port would win every election, and keep the others from leading.
    """

    def __init__(
        self,
        sid: int,
        addresses: Mapping[int, tuple[str, int]],
        sockets: PeerSockets,
        owner: LinkOwner,
        *,
        buffer: memoryview,
        patience_ms: int,
        schedule: Callable[[], None],
        fail: Callable[[BaseException], None],
        others: Mapping[int, Sequence[Endpoint]] | None = None,
    ) -> None:
        self._port = addresses[sid][1]
        self._others = others or {}
        self._own_others = self._others.get(sid, ())
        self._addresses = addresses
        self._sockets = sockets
        self._owner = owner
        self._buffer = buffer  # shared by all links: it is emptied before the loop serves the next one
        self._patience_s = patience_ms / 1000
        self._schedule = schedule
        self._fail = fail
        self._protocols: dict[int, _LinkProtocol] = {}  # by key
        self._open: set[_LinkProtocol] = set()
        self._strangers = sockets.strangers("quorum port", "connections that have said nothing")
        self._dumping: deque[_LinkProtocol] = deque()
        self._dumps_scheduled = False
        self._listens = self._closed = False
        self._listening: asyncio.Task[None] | None = None
        self._dialling: asyncio.Task[None] | None = None

    def listen(self, wanted: bool) -> None:
        """Start or stop accepting learners. Called with True while this server leads; may be called each turn."""
        if wanted == self._listens:
            return
        self._listens = wanted
        if wanted:
            self._listening = asyncio.get_running_loop().create_task(self._listen())
        elif self._listening is not None:
            self._listening.cancel()
            self._listening = None

    async def check(self) -> None:
        """Raise OSError when the port, which only a leader opens, could not be opened now."""
        await self._sockets.check_port(self._port, self._own_others)

    def dial(self, sid: int) -> None:
        """Connect to a server's quorum port; cancels an attempt under way."""
        if self._dialling is not None:
            self._dialling.cancel()
        self._dialling = asyncio.get_running_loop().create_task(self._dial(sid))

    def flush(self, links: Iterable[PeerLink]) -> None:
        """Send the output of these links."""
        for link in links:
            protocol = self._protocols.get(link.key)
            if protocol is not None:
                protocol.flush()

    async def close(self) -> None:
        """Close every connection, and wait until each socket is closed."""
        self._closed = True
        tasks = [task for task in (self._listening, self._dialling) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for protocol in list(self._open):
            protocol.hang_up()
        while self._open:  # noqa: ASYNC110 - a socket is closed one loop turn later, there is no event for it
            await asyncio.sleep(0)

    async def _listen(self) -> None:
        """Listen until cancelled."""
        loop = asyncio.get_running_loop()
        until, warned = loop.time() + self._patience_s, False
        while True:
            try:
                listener = await self._sockets.listen(self._accepted, self._port, "quorum port", self._own_others)
            except OSError as error:
                if loop.time() >= until:
                    self._fail(OSError(f"this server leads and cannot open its quorum port: {error.strerror or error}"))
                    return
                if not warned:
                    log.error("cannot open the quorum port, trying again: %s", error.strerror or error)  # noqa: TRY400
                warned = True
                await asyncio.sleep(_LISTEN_AGAIN_S)
                continue
            try:
                await loop.create_future()
            finally:
                listener.close()

    async def _dial(self, sid: int) -> None:
        host, port = self._addresses[sid]
        for delay_s in (*_DIAL_DELAYS_S, None):
            protocol = _LinkProtocol(self, lambda: self._owner.dialled(sid))
            try:
                await self._dial_for(protocol, [(host, port), *self._others.get(sid, ())])
            except UNREACHABLE as error:
                if delay_s is not None and not isinstance(error, TimeoutError):
                    await asyncio.sleep(delay_s)
                    continue
                if not self._sockets.say_refused(f"server {sid}, quorum port", host, port, error):
                    log.info("server %s, the leader, cannot be reached at %s:%s: %s", sid, host, port, error)
                self._schedule()
                self._owner.dial_failed(sid)
            return

    def _accepted(self) -> "_LinkProtocol":
        return _LinkProtocol(self, self._owner.accept, is_accepted=True)

    async def _dial_for(self, protocol: "_LinkProtocol", endpoints: Sequence[Endpoint]) -> None:
        try:
            await self._sockets.dial_any(lambda: protocol, endpoints)
        except BaseException:
            self.lost(protocol)  # uvloop, when cancelled just behind connection_made, calls no connection_lost
            raise

    # What the links' sockets call.

    def made(self, protocol: "_LinkProtocol", transport: asyncio.Transport, ask: Callable[[], PeerLink | None]) -> None:
        """A connection is up: keep it if `ask` returns a link for it, else close it."""
        self._open.add(protocol)
        self._sockets.limit_silence(transport)
        transport.set_write_buffer_limits(high=_READY_BYTES)
        if self._closed:
            protocol.hang_up()
            return
        self._schedule()
        try:
            link = protocol.link = ask()
        except Exception as error:
            self._fail(error)
            return
        if link is None:
            protocol.hang_up()
            return
        self._protocols[link.key] = protocol
        if protocol.is_stranger:
            why_not = self._sockets.certified(transport)
            if why_not is not None:
                link.certified(why_not)
            self._strangers.meet(protocol, transport.get_extra_info("peername"))

    def know(self, protocol: "_LinkProtocol") -> None:
        """Something has come over an accepted connection."""
        self._strangers.know(protocol)

    def buffer(self) -> memoryview:
        """The buffer for received bytes."""
        return self._buffer

    def received(self, link: PeerLink, size: int) -> None:
        """`size` bytes have arrived in the buffer."""
        self._schedule()
        try:
            link.receive(bytes(self._buffer[:size]))
        except Exception as error:
            # The packet may have left something half done: a dead server is safe, a wrong one is not.
            self._fail(error)

    def lost(self, protocol: "_LinkProtocol") -> None:
        """A socket is closed."""
        self._open.discard(protocol)
        self._strangers.know(protocol)
        link = protocol.link
        if link is not None and self._protocols.pop(link.key, None) is not None:
            self._schedule()
            link.lost()

    def dump(self, protocol: "_LinkProtocol") -> None:
        """A link has a dump to send, and its socket can take more."""
        if protocol not in self._dumping:
            self._dumping.append(protocol)
        if not self._dumps_scheduled:
            self._dumps_scheduled = True
            asyncio.get_running_loop().call_soon(self._dump_some)

    def _dump_some(self) -> None:
        """Send slices of one link's dump; other links with dumps follow in later turns of the loop."""
        self._dumps_scheduled = False
        protocol = self._dumping.popleft()
        try:
            goes_on = protocol.dump_slices()
        except Exception as error:
            self._fail(error)
            return
        if goes_on:
            self._dumping.append(protocol)
        if self._dumping:
            self._dumps_scheduled = True
            asyncio.get_running_loop().call_soon(self._dump_some)


class _LinkProtocol(asyncio.BufferedProtocol):
    """The shell's side of one link."""

    def __init__(self, port: QuorumPort, ask: Callable[[], PeerLink | None], *, is_accepted: bool = False) -> None:
        self.is_stranger: bool = is_accepted  # until something has come
        self._port = port
        self._ask = ask
        self._unwritable = False
        self._transport: asyncio.Transport | None = None
        self._behind = self._behind_bytes = 0  # items and bytes that wait behind a dump, counted so far
        self.link: PeerLink | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        self._transport = transport  # type: ignore[assignment]
        self._port.made(self, transport, self._ask)  # type: ignore[arg-type]

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer for received bytes."""
        return self._port.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Give the received bytes to the link."""
        if self.is_stranger:
            self.is_stranger = False
            self._port.know(self)
        if self.link is not None:
            self._port.received(self.link, nbytes)

    def eof_received(self) -> bool:
        """The other side will send no more: close the socket."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._port.lost(self)

    def pause_writing(self) -> None:
        """The other side reads more slowly than this one sends."""
        self._unwritable = True

    def resume_writing(self) -> None:
        """The other side has read enough: go on."""
        self._unwritable = False
        self.flush()

    def hang_up(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def flush(self) -> None:
        """Send the link's output up to its first dump, or close the socket if the link wants that."""
        link, transport = self.link, self._transport
        if link is None or transport is None or transport.is_closing():
            return
        if link.wants_close:
            in_dump = any(not isinstance(item, bytes) for item in link.out)
            if link.farewell and not in_dump and not transport.get_write_buffer_size():
                transport.write(link.farewell)
                if not transport.get_write_buffer_size():  # the system has it
                    transport.close()
                    return
            transport.abort()
            return
        out = link.out
        if not out:
            return
        try:
            data = b"".join(out)  # type: ignore[arg-type]
        except TypeError:
            self._flush_to_dump(link, transport)
        else:
            out.clear()
            transport.write(data)
        if self._unwritable and transport.get_write_buffer_size() + self._behind_bytes > _MOST_UNSENT_BYTES:
            log.warning("another server does not read what it is sent: connection closed")
            transport.abort()

    def _flush_to_dump(self, link: PeerLink, transport: asyncio.Transport) -> None:
        out = link.out
        at = next(index for index, item in enumerate(out) if not isinstance(item, bytes))
        if at:
            transport.write(b"".join(out[:at]))  # type: ignore[arg-type]
            del out[:at]
            self._behind = self._behind_bytes = 0
        new = out[max(1, self._behind) :]
        self._behind = len(out)
        self._behind_bytes += sum(len(item) for item in new if isinstance(item, bytes))
        if not self._unwritable:
            self._port.dump(self)

    def dump_slices(self) -> bool:
        """Send slices of the dump for a few ms, or until the socket is full; return whether to go on next turn."""
        link, transport = self.link, self._transport
        if link is None or transport is None or transport.is_closing() or link.wants_close or not link.out:
            return False
        dump = link.out[0]
        if isinstance(dump, bytes):
            return False
        until = perf_counter() + _SLICE_LIMIT_S
        for chunk in dump:
            transport.write(chunk)
            if self._unwritable or transport.is_closing():
                return False
            if perf_counter() >= until:
                return True
        del link.out[0]
        self._behind = self._behind_bytes = 0
        self.flush()
        return False
