"""One connection of the quorum port, at either end: bytes in, packets to the protocol, bytes out."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, Protocol, TypeVar

from recipes.core.errors import WireError

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)

MOST_STRANGERS: Final = 256  # connections whose other ends have not said which servers they are


class Owner(Protocol):
    """The Replica that a link belongs to."""

    now_ms: int

    def touch_link(self, link: "Link[Any]") -> None:
        """The link has something for the shell."""

    def note(self, text: str) -> None:
        """Have the shell log `text`."""


class Reader(Protocol[P_co]):
    """Splits a stream of bytes into packets."""

    def feed(self, data: bytes) -> Iterable[P_co]:
        """The packets that are complete. Raises WireError for bytes that cannot be packets."""
        ...


class Link(Generic[P]):
    """A PeerLink, made by a Replica and driven by a shell.

    reader: of the packets at this end. handle: takes a packet; a WireError that it raises closes the link.
    gone: called once, when the link is closed at either end.
    why_closed: why this end hung up; empty where no reason was given.
    sid: of the server at the other end; -1 until that server has introduced itself.
    since_ms: when the link was made. heard_ms: when bytes last came in, or when the other end last took a part of a
    dump.
    """

    __slots__ = (
        "_farewell", "_gone", "_handle", "_owner", "_reader", "_why_not", "closed", "farewell", "heard_ms", "key",
        "out", "sid", "since_ms", "touched", "wants_close", "why_closed",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        key: int,
        reader: Reader[P],
        handle: Callable[["Link[P]", P], None],
        gone: Callable[["Link[P]"], None],
    ) -> None:
        self._owner = owner
        self.key: int = key
        self.sid: int = -1
        self.out: list[bytes | Iterator[bytes]] = []
        self.wants_close: bool = False
        self.farewell: bytes = b""
        self.why_closed: str = ""
        self.closed: bool = False
        self.touched: bool = False
        self.since_ms: int = owner.now_ms
        self.heard_ms: int = owner.now_ms
        self._reader = reader
        self._handle = handle
        self._farewell: Callable[[str], bytes] | None = None
        self._gone = gone
        self._why_not: Callable[[int], str] | None = None

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

    def take(self, packets: Iterable[P]) -> None:
        """Hand packets to the protocol, until one breaks the protocol."""
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
        if not self.touched:
            self._owner.touch_link(self)

    def _taken(self, dump: Iterator[bytes]) -> Iterator[bytes]:
        for part in dump:
            # The other end takes it: a sign of life, and the only one while a large tree is sent.
            self.heard_ms = self._owner.now_ms
            yield part

    def certified(self, why_not: Callable[[int], str]) -> None:
        """The other end has shown a certificate. why_not: why it is not a server's, by its sid; empty if it is."""
        self._why_not = why_not

    def why_not(self, sid: int) -> str:
        """Why the other end cannot be this server, empty if it can: without a certificate it may be any."""
        return "" if self._why_not is None else self._why_not(sid)

    def leave(self, why: str) -> None:
        """Hang up after the other end's farewell. why: for this server's log."""
        self._farewell = None
        self.close(why)

    def understands(self, farewell: Callable[[str], bytes]) -> None:
        """The other end can be told why this end hangs up. farewell: makes the packet."""
        self._farewell = farewell

    def bid_farewell(self, why: str) -> None:
        """Hang up, and let the other end log the reason, which this server has logged already."""
        if self._farewell is not None and not self.wants_close:
            self.farewell = self._farewell(why)
        self.close()

    def close(self, why: str = "") -> None:
        """Hang up. why: for this server's log, and the other end's, if that understands it."""
        if not self.wants_close:
            self.wants_close = True
            self.why_closed = why
            if why:
                if self._farewell is not None:
                    self.farewell = self._farewell(why)
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


def make_room(links: Iterable[Link[Any]]) -> None:
    """Hang up on the oldest link whose other end has not introduced itself, if there are too many of them.

    links: the oldest first.
    """
    strangers = [link for link in links if link.sid == -1]
    if len(strangers) >= MOST_STRANGERS:
        strangers[0].close()
