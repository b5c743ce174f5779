"""One connection of the quorum port, seen from either end: bytes in, packets to whom it belongs, bytes out."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from recipes.core.errors import WireError
from recipes.core.jute.quorum import Packet, PacketReader


class Owner(Protocol):
    """Whose link it is."""

    now_ms: int

    def touch_link(self, link: "Link") -> None:
        """The link has something for the shell."""

    def note(self, text: str) -> None:
        """For the shell to log."""


class Link:
    """Made by a ZabPeer, driven by a shell: a PeerLink.

    why_closed: what made this end hang up, empty where it needs no reason of its own.
    sid: of the server at the other end, -1 while it has not said.
    since_ms, heard_ms: when it was made, and when something last came from the other end, or went there of a dump.
    """

    __slots__ = (
        "_gone", "_handle", "_owner", "_reader", "closed", "heard_ms", "key", "out", "sid", "since_ms", "touched",
        "wants_close", "why_closed",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        key: int,
        limit_bytes: int,
        handle: Callable[["Link", Packet], None],
        gone: Callable[["Link"], None],
        takes_dumps: bool,
    ) -> None:
        self._owner = owner
        self.key: int = key
        self.sid: int = -1
        self.out: list[bytes | Iterator[bytes]] = []
        self.wants_close: bool = False
        self.why_closed: str = ""
        self.closed: bool = False
        self.touched: bool = False
        self.since_ms: int = owner.now_ms
        self.heard_ms: int = owner.now_ms
        self._reader = PacketReader(limit_bytes, takes_dumps)
        self._handle = handle
        self._gone = gone

    def receive(self, data: bytes) -> None:
        """Take in what came, cut anywhere. Bytes that break the protocol close the link, with the reason."""
        if self.wants_close:
            return
        self.heard_ms = self._owner.now_ms
        try:
            packets = self._reader.feed(data)
        except WireError as error:
            self.close(str(error))
        else:
            self.take(packets)

    def take(self, packets: Iterable[Packet]) -> None:
        """Hand packets to whom they belong, until one breaks the protocol."""
        try:
            for packet in packets:
                if self.wants_close:
                    return
                self._handle(self, packet)
        except WireError as error:
            self.close(str(error))

    def send(self, data: bytes | Iterator[bytes]) -> None:
        """Put a packet, or a dump, behind what is on its way."""
        self.out.append(data if isinstance(data, bytes) else self._taken(data))
        self._owner.touch_link(self)

    def _taken(self, dump: Iterator[bytes]) -> Iterator[bytes]:
        for part in dump:
            # To take it is a sign of life, and the only one while a large tree is on its way.
            self.heard_ms = self._owner.now_ms
            yield part

    def close(self, why: str = "") -> None:
        """Hang up. why: for the log, which cannot reach the other end: that has its own."""
        if not self.wants_close:
            self.wants_close = True
            self.why_closed = why
            if why:
                other = "an unknown server" if self.sid == -1 else f"server {self.sid}"
                self._owner.note(f"the connection to {other} is closed: {why}")
            self._owner.touch_link(self)
            self._gone(self)

    def lost(self) -> None:
        """The socket is closed."""
        self.closed = True
        self.out.clear()
        if not self.wants_close:
            self.wants_close = True
            self._gone(self)
