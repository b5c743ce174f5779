"""What a recorder of a simulation is told. Without one, nothing here costs anything, and runs are the same with one.

A recorder may also hold back what is on its way: the laboratory's scripts do so.
"""

from typing import TYPE_CHECKING, Protocol

from recipes.core.disk.jobs import Job
from recipes.core.replication import Recovered

if TYPE_CHECKING:
    from recipes.core.sim.network import Side


class Recorder(Protocol):
    """Hears what happens at the servers of a world, in the order in which it happens."""

    # Streams: the connections of the quorum port.

    def sent(self, side: "Side", data: bytes) -> None:
        """Bytes leave over this end of a connection."""

    def stops(self, side: "Side") -> bool:
        """Whether the next bytes that would arrive at this end wait; `Side.resume` lets them go on."""
        ...

    def arrives(self, side: "Side", data: bytes) -> None:
        """Bytes arrive at this end; its owner gets them next."""

    def ended(self, side: "Side") -> None:
        """Nothing arrives at this end any more."""

    # Notifications: the election port.

    def note_sent(self, sender: int, receiver: int, frame: bytes) -> None:
        """A notification leaves."""

    def note_arrives(self, sender: int, receiver: int, frame: bytes) -> bool:
        """The oldest notification on its way arrives. False: do not deliver it."""
        ...

    def notes_lost(self, sender: int, receiver: int, kept: int) -> None:
        """All notifications on their way are lost, but for the newest `kept`."""

    # Servers.

    def started(self, sid: int, found: Recovered) -> None:
        """A server starts, with what its disk has."""

    def begins(self, sid: int, job: Job) -> None:
        """A job of a server's disk is begun."""

    def done(self, sid: int, job: Job) -> None:
        """The job is done: durable, if it is one that makes things durable."""

    def woke(self, sid: int) -> None:
        """A server's timer has run out; a turn follows."""

    def turned(self, sid: int) -> None:
        """A turn of a server is over: all that it has decided is on its way."""
