"""One connection for votes: bytes come in, notifications of another server come out.

Which connection a server uses, and which it ends, is decided in `election_port.py`.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from recipes.core.errors import WireError
from recipes.core.jute.frames import FrameReader
from recipes.core.jute.votes import MAX_NOTIFICATION_BYTES, read_greeting

if TYPE_CHECKING:
    from recipes.core.server.election_port import ElectionPort, OtherServer

_GREETING_TIMEOUT_S = 5.0


class ElectionConnection(asyncio.Protocol):
    """One connection; it carries frames once the other server is known."""

    def __init__(self, port: "ElectionPort") -> None:
        self.server: OtherServer | None = None  # whose connection this is
        self.claims: OtherServer | None = None  # in whose name it greeted
        self.is_dialled: bool = False
        self.was_heard: bool = False
        self.why_not: Callable[[int], str] | None = None  # the certificate's word, where that counts
        self.busy: bool = False
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(MAX_NOTIFICATION_BYTES)
        self._held: bytes | None = None  # the last frame that came before this connection was used

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        self._transport = transport  # type: ignore[assignment]
        self._port.made(self, transport)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Take in frames. Bytes that are not frames end the connection."""
        self.was_heard = True
        try:
            for payload in self._reader.feed(data):
                if self.server is not None:
                    self.server.received(payload)
                else:
                    self._held = payload  # a newcomer's; or this one was replaced, or was only a knock
        except WireError as error:
            self.refuse(error)

    def hear_held(self) -> None:
        """The connection is used from now on."""
        held, self._held = self._held, None
        if held is not None and self.server is not None:
            self.server.received(held)

    def refuse(self, error: WireError) -> None:
        """Hang up, and say why."""
        address = self._transport.get_extra_info("peername") if self._transport is not None else None
        self._port.sockets.say_broken("election port", address, error)
        self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._port.lost(self)
        self._leave()

    def _leave(self) -> None:
        server, self.server, self.claims = self.server or self.claims, None, None
        if server is not None:
            server.lost(self)

    def pause_writing(self) -> None:
        """The write buffer is not empty: write nothing more."""
        self.busy = True

    def resume_writing(self) -> None:
        """The write buffer is empty again: write the waiting message."""
        self.busy = False
        if self.server is not None:
            self.server.write_waiting()

    def write(self, message: bytes) -> None:
        """Send."""
        if self._transport is not None:
            self._transport.write(message)

    def finish(self) -> None:
        """Close, once everything is sent."""
        self.server = None
        if self._transport is not None:
            self._transport.close()

    def hang_up(self) -> None:
        """Close now."""
        self._leave()
        if self._transport is not None:
            self._transport.abort()


class AcceptedConnection(ElectionConnection):
    """A connection that another server opened: a greeting, then frames."""

    def __init__(self, port: "ElectionPort") -> None:
        super().__init__(port)
        self._begun: bytes | None = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait a limited time for the greeting."""
        super().connection_made(transport)
        self._timer = asyncio.get_running_loop().call_later(_GREETING_TIMEOUT_S, self.hang_up)
        self._port.meet(self, transport.get_extra_info("peername"))

    def data_received(self, data: bytes) -> None:
        """Take in the greeting, then frames."""
        if self._begun is None:
            super().data_received(data)
            return
        self._begun += data
        try:
            found = read_greeting(self._begun)
        except WireError as error:
            self.refuse(error)
            return
        if found is None:
            return
        greeting, end = found
        rest, self._begun = self._begun[end:], None
        self._known()
        if not self._port.greeted(self, greeting):
            self.hang_up()
        elif rest:
            super().data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._known()
        super().connection_lost(exc)

    def _known(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._port.know(self)
