"""One connection of the quorum port, at either end: bytes in, packets to the Leader or Learner, bytes out."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from recipes.core.errors import WireError
from recipes.core.jute.quorum import Packet, PacketReader


class Owner(Protocol):
    """The peer that a link belongs to."""

    now_ms: int

    def touch_link(self, link: "Link") -> None:
        """The link has something for the shell."""

    def note(self, text: str) -> None:
        """Have the shell log `text`."""


class Link:
    """A PeerLink, made by a ZabPeer and driven by a shell.

    why_closed: why this end hung up; empty where no reason was given.
    sid: of the server at the other end; -1 until that server has introduced itself.
    since_ms: when the link was made. heard_ms: when bytes last came in, or when the other end last took a part of a
    dump.
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
        """Take in bytes, split anywhere. Bytes that break the protocol close the link, with the reason."""
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
        """Hand packets to the Leader or Learner, until one breaks the protocol."""
        try:
            for packet in packets:
                if self.wants_close:
                    return
                self._handle(self, packet)
        except WireError as error:
            self.close(str(error))

    def send(self, data: bytes | Iterator[bytes]) -> None:
        """Queue a packet, or a dump, for the other end."""
        self.out.append(data if isinstance(data, bytes) else self._taken(data))
        self._owner.touch_link(self)

    def _taken(self, dump: Iterator[bytes]) -> Iterator[bytes]:
        for part in dump:
            # The other end takes it: a sign of life, and the only one while a large tree is sent.
            self.heard_ms = self._owner.now_ms
            yield part

    def close(self, why: str = "") -> None:
        """Hang up. why: for this server's log; the other end is not told."""
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
