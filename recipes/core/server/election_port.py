"""The election port: one connection to each other server, which carries votes both ways.

Of two servers, the one with the larger sid dials and keeps the connection up. If the one with the smaller sid has
something to send and no connection, it knocks: it dials, sends its greeting and closes. The other one then dials back.

Anybody can greet or knock in the name of a server. So neither ends a connection that works: the last message is sent
over it once more, and if the other server has closed it, or does not acknowledge the bytes, it breaks.
Source: QuorumCnxManager.java.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from random import SystemRandom
from socket import gaierror

from recipes.core.address import with_port
from recipes.core.errors import WireError
from recipes.core.jute.votes import (
    Greeting,
    Notification,
    decode_notification,
    encode_greeting,
    encode_notification,
)
from recipes.core.server.election_connection import AcceptedConnection, ElectionConnection
from recipes.core.server.listening import Listener
from recipes.core.server.peer_sockets import UNREACHABLE, Endpoint, PeerSockets

log: logging.Logger = logging.getLogger("recipes.server")

_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 2.0
_POKE_PAUSE_S = 0.05
_MOST_REFUSED = 64  # sids


class ElectionPort:
    """This server's connections for votes.

    sid: this server. addresses: host and election port of every server, by sid, this one's included. others: further
    ones of a server that has several.
    heard(sid, notification): called for each notification received.
    unreachable(sid, whether): called with True when dialling another server fails, with False once it is connected
        again.
    Both are called on the loop, outside of any turn. `start` raises OSError when the port cannot be opened.
    """

    def __init__(
        self,
        sid: int,
        addresses: Mapping[int, tuple[str, int]],
        sockets: PeerSockets,
        *,
        heard: Callable[[int, Notification], None],
        unreachable: Callable[[int, bool], None],
        others: Mapping[int, Sequence[Endpoint]] | None = None,
    ) -> None:
        host, port = addresses[sid]
        self._others = others or {}
        self._sid = sid
        self._port = port
        self.sockets = sockets
        self._heard = heard
        self._greeting = encode_greeting(sid, with_port(host, port))
        self._servers = {
            other: OtherServer(other, address, other < sid, self, unreachable)
            for other, address in addresses.items()
            if other != sid
        }
        self._connections: set[ElectionConnection] = set()  # with open sockets
        self._strangers = sockets.strangers("election port", "connections without a greeting")
        self._refused: set[int] = set()  # sids whose refusal was logged
        self._listener: Listener | None = None
        self._closed = False

    async def start(self) -> None:
        """Listen, and keep connections to the servers with smaller sids, until `close`."""
        self._listener = await self.sockets.listen(
            lambda: AcceptedConnection(self), self._port, "election port", self._others.get(self._sid, ())
        )
        self.sockets.learn_servers(host for server in self._servers.values() for host, _ in self._endpoints(server))
        for server in self._servers.values():
            if server.dials:
                server.dial_now()

    def send(self, sid: int, note: Notification) -> None:
        """Send a notification as soon as there is a connection; it replaces one that still waits."""
        self._servers[sid].send(encode_notification(note))

    def out_of_contact(self) -> list[int]:
        """The other servers to which there is no connection."""
        return [sid for sid, server in self._servers.items() if not server.connected]

    async def close(self) -> None:
        """Close every connection, and wait until each socket is closed."""
        self._closed = True
        if self._listener is not None:
            self._listener.close()
        tasks = [task for server in self._servers.values() if (task := server.close()) is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._connections):
            connection.hang_up()
        while self._connections:  # noqa: ASYNC110 - a socket is closed one loop turn later, there is no event for it
            await asyncio.sleep(0)

    # What the connections call.

    def made(self, connection: ElectionConnection, transport: asyncio.Transport) -> None:
        """A connection is up. Keep its write buffer empty, so that a newer vote can replace one that is not sent yet.

        The limit is 1, not 0, since TLS pauses at the limit, plain TCP only above it. With 0 a TLS connection with
        nothing to send could stay paused, and would never send the next vote.
        """
        self._connections.add(connection)
        connection.why_not = self.sockets.certified(transport)
        if self._closed:  # an abandoned dial can still succeed
            transport.abort()
            return
        self.sockets.limit_silence(transport)
        transport.set_write_buffer_limits(high=1)

    def lost(self, connection: ElectionConnection) -> None:
        """A connection's socket is closed."""
        self._connections.discard(connection)

    def meet(self, connection: AcceptedConnection, address: object) -> None:
        """A new connection has not sent its greeting yet."""
        self._strangers.meet(connection, address)

    def know(self, connection: AcceptedConnection) -> None:
        """A connection has sent its greeting, or is closed."""
        self._strangers.know(connection)

    def greeted(self, connection: ElectionConnection, greeting: Greeting) -> bool:
        """A connection has sent its greeting; return whether to keep it."""
        server = self._servers.get(greeting.sid)
        if server is None:
            if greeting.sid not in self._refused and len(self._refused) < _MOST_REFUSED:
                self._refused.add(greeting.sid)
                log.warning(
                    "refused an election connection of server %s: it is none of the other servers listed here; "
                    "give all servers the same server.N lines",
                    greeting.sid,
                )
            return False
        if connection.why_not is not None and (why := connection.why_not(greeting.sid)):
            connection.refuse(WireError(why))
            return False
        if server.dials:
            server.knocked()
            return False
        server.meet(connection)
        return True

    def received(self, sid: int, payload: bytes) -> None:
        """A frame has arrived."""
        note = decode_notification(payload)
        if note is not None:
            self._heard(sid, note)

    def _endpoints(self, server: "OtherServer") -> list[Endpoint]:
        return [server.address, *self._others.get(server.sid, ())]

    async def connect(self, server: "OtherServer") -> ElectionConnection:
        """Dial a server and send the greeting."""
        connection = ElectionConnection(self)
        try:
            transport, _ = await self.sockets.dial_any(lambda: connection, self._endpoints(server))
        except BaseException:
            self.lost(connection)  # uvloop, when cancelled just behind connection_made, calls no connection_lost
            raise
        transport.write(self._greeting)
        return connection


class OtherServer:
    """Another server: the connection to it, and the notification to send."""

    def __init__(
        self,
        sid: int,
        address: tuple[str, int],
        dials: bool,
        port: ElectionPort,
        unreachable: Callable[[int, bool], None],
    ) -> None:
        self.sid = sid
        self.address = address
        self.dials = dials  # this server dials, and keeps the connection up
        self._port = port
        self._unreachable = unreachable
        self._found_unreachable = False
        self._connection: ElectionConnection | None = None
        self._newcomer: ElectionConnection | None = None  # greeted in this server's name while `_connection` is up
        self._doubt: asyncio.TimerHandle | None = None  # set while there is a newcomer
        self._poke_again_s = 0.0
        self._waiting: bytes | None = None
        self._last: bytes | None = None
        self._delay_s = _FIRST_DELAY_S
        self._timer: asyncio.TimerHandle | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._closed = False
        self._chance = SystemRandom()

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def send(self, message: bytes) -> None:
        """Send now, or once there is a connection that is not busy."""
        self._waiting = self._last = message
        if self._connection is not None:
            self.write_waiting()
        elif self._delay_s > _FIRST_DELAY_S or self._timer is None:
            self.dial_now()

    def write_waiting(self) -> None:
        """Write the waiting message to the connection, unless an earlier one is still in its buffer."""
        connection = self._connection
        if connection is not None and self._waiting is not None and not connection.busy:
            message, self._waiting = self._waiting, None
            connection.write(message)

    def meet(self, connection: ElectionConnection) -> None:
        """A connection has greeted in this server's name: use it, or let it wait until the present one breaks."""
        connection.claims = self
        if self._connection is None or self._last is None:
            self.adopt(connection)
            return
        self._refuse_newcomer()
        self._newcomer = connection
        self._doubt = asyncio.get_running_loop().call_later(self._port.sockets.silence_s + 1, self._refuse_newcomer)
        self._poke()

    def knocked(self) -> None:
        """Somebody says in this server's name that it has no connection."""
        if self._connection is None:
            self.dial_now()
        else:
            self._poke()

    def _poke(self) -> None:
        """Send the last message again: a connection that the other server has closed breaks of it."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._poke_again_s:
            self._poke_again_s = now_s + _POKE_PAUSE_S
            if self._waiting is None:
                self._waiting = self._last
            self.write_waiting()

    def _refuse_newcomer(self) -> None:
        newcomer = self._take_newcomer()
        if newcomer is not None:
            newcomer.hang_up()

    def _take_newcomer(self) -> ElectionConnection | None:
        newcomer, self._newcomer = self._newcomer, None
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None
        return newcomer

    def adopt(self, connection: ElectionConnection) -> None:
        """Use this connection from now on. Repeat the last message, which the old connection may have lost."""
        self.drop()
        self._stop_dialling()
        self._connection = connection
        connection.server = self
        self._report(False)
        if self._waiting is None:
            self._waiting = self._last
        self.write_waiting()
        connection.hear_held()

    def drop(self) -> None:
        """Close the current connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.hang_up()

    def lost(self, connection: ElectionConnection) -> None:
        """A connection is closed; the message sent last may be lost with it, and will be sent again."""
        if self._newcomer is connection:
            self._take_newcomer()
        if self._connection is connection:
            self._connection = None
            newcomer = self._take_newcomer()
            if newcomer is not None and not self._closed:
                self.adopt(newcomer)
                return
            if connection.is_dialled and not connection.was_heard and not self._closed:
                self._port.sockets.say_cut_off(f"server {self.sid}, election port", *self.address)
            if self._waiting is None:
                self._waiting = self._last
            self._dial_later()

    def received(self, payload: bytes) -> None:
        """A frame has arrived, so the connection works: reset the delay of dialling."""
        self._delay_s = _FIRST_DELAY_S
        self._port.received(self.sid, payload)

    def dial_now(self) -> None:
        """Dial now; further attempts start again with short delays."""
        self._delay_s = _FIRST_DELAY_S
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._dialling is None and not self._closed:
            self._dialling = asyncio.get_running_loop().create_task(self._dial())

    def close(self) -> "asyncio.Task[None] | None":
        """Close for good; return the task to wait for, if there is one."""
        self._closed = True
        task = self._dialling
        self._stop_dialling()
        self._refuse_newcomer()
        self.drop()
        return task

    def _dial_later(self) -> None:
        if self._closed or self._timer is not None or self._dialling is not None:
            return
        if self.dials or self._waiting is not None:
            delay_s = self._delay_s * (0.5 + self._chance.random() / 2)  # jitter, so that servers do not dial in step
            self._delay_s = min(self._delay_s * 2, _LONGEST_DELAY_S)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._dial_again)

    def _dial_again(self) -> None:
        self._timer = None
        if self._dialling is None:
            self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        try:
            connection = await self._port.connect(self)
        except UNREACHABLE as error:
            if not self._port.sockets.say_refused(f"server {self.sid}, election port", *self.address, error):
                log.debug("server %s cannot be reached at %s:%s: %s", self.sid, *self.address, error)
            self._dialling = None
            if isinstance(error, gaierror | UnicodeError) and not self._found_unreachable:
                log.warning("server %s: name %s not known yet: it is looked up again", self.sid, self.address[0])
            self._report(True)
            self._dial_later()
            return
        self._dialling = None
        if self.dials:
            connection.is_dialled = True
            self.adopt(connection)
        else:
            connection.finish()
            self._dial_later()

    def _stop_dialling(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None

    def _report(self, is_unreachable: bool) -> None:
        if is_unreachable != self._found_unreachable:
            self._found_unreachable = is_unreachable
            self._unreachable(self.sid, is_unreachable)
