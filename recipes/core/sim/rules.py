"""The part of a simulation that knows the protocol: checks of its own, and what it observes on the wire.

This is the one for a protocol without checks of its own, such as a standalone server's; others override its methods.
"""

from collections.abc import Mapping, Sequence

from recipes.core.jute.votes import Notification
from recipes.core.replication import Cell, Operation


class Tap:
    """Observes what one server sends over one connection of the quorum port."""

    __slots__ = ()

    def sent(self, data: bytes) -> None:
        """The server sends bytes: whole packets, or a part of a dump."""


class Rules:
    """What happens at servers, as far as a protocol has rules for it. A method fails the Ledger where one is broken."""

    def name(self, name: str) -> str:
        """The name that a property of every protocol has in this one."""
        return name

    def recovered(self, sid: int, last_zxid: int, cells: Mapping[str, bytes], unsure: bool) -> None:
        """A server has recovered from its disk, and starts from this state. Called before its Shadow has changed."""

    def stored(self, sid: int, cell: Cell) -> None:
        """A cell is durable."""

    def synced(self, sid: int) -> None:
        """Entries are durable."""

    def applied(self, sid: int, zxid: int) -> None:
        """A server has applied a txn."""

    def replaces(self, sid: int, operation: Operation, common_zxid: int) -> None:
        """A server cuts its log, or replaces it. common_zxid: the last committed entry in it. Called before its Shadow
        has changed."""

    def named_snapshot(self, sid: int, zxid: int) -> None:
        """A server has written a snapshot of its tree."""

    def wiped(self, sid: int) -> None:
        """A server's disk is empty."""

    def established(self, sid: int, epoch: int) -> None:
        """A leader begins to serve."""

    def votes(self, sid: int, votes: Sequence[tuple[int, Notification]]) -> None:
        """A server sends votes, each to one server."""

    def tap(self, sid: int) -> Tap:
        """An observer for a new connection of a server."""
        return Tap()
