"""What a replica sends to other servers in one turn: all that may leave before the turn's writes are on disk."""

from collections.abc import Callable, Iterator
from typing import Protocol

from recipes.core.jute.votes import Notification


class PeerLink(Protocol):
    """One connection to another server: bytes in, bytes out.

    out: what to send, in order. An iterator in it is a dump of the tree: its slices go out one after the other, and
        everything behind it waits.
    wants_close: the shell is to close the socket, without sending what is left. touched: it is in an Outbox already.
    farewell: to be sent then, if the socket takes it at once: for the log of the other server.
    """

    key: int
    out: list[bytes | Iterator[bytes]]
    wants_close: bool
    touched: bool
    farewell: bytes

    def receive(self, data: bytes) -> None:
        """Take in bytes, split anywhere. Never raises, whatever the bytes are."""

    def certified(self, why_not: Callable[[int], str]) -> None:
        """The other end has shown a certificate. why_not: why it is not a server's, by its sid; empty if it is."""

    def lost(self) -> None:
        """The socket is closed."""


class Outbox:
    """What a Replica has decided in one turn, for the network.

    All of it may leave before the turn's writes are durable, and does: so the other servers write while this one does.
    A Replica must put nothing in here that promises what its disk does not hold yet. `flushed` and `written` make the
    votes, acknowledgements and commits that count this server; nothing makes them in advance.

    votes: (server, notification) for the election ports. dial: the server whose quorum port to connect to; the shell
    answers with `dialled` or `dial_failed`. touched: links with something to send, or to be closed. notes: lines to log
    for an operator.
    """

    __slots__ = ("dial", "notes", "touched", "votes")

    def __init__(self) -> None:
        self.votes: list[tuple[int, Notification]] = []
        self.dial: int | None = None
        self.touched: list[PeerLink] = []
        self.notes: list[str] = []
