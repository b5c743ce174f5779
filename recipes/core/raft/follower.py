"""A follower in raft: it serves once it knows all that was committed. replicas/tables.py has the stages."""

from typing import TYPE_CHECKING

from recipes.core.link import Link
from recipes.core.raft.claims import MOST_TERM
from recipes.core.replicas.follower import SharedFollower
from recipes.core.replicas.stages import FollowerTable
from recipes.core.replicas.tables import FOLLOWER_MESSAGES
from recipes.core.replicas.wire import Hello, Message
from recipes.core.zxid import start_of

if TYPE_CHECKING:
    from recipes.core.raft.peer import RaftPeer


class Follower(SharedFollower):
    """What a server does while `leader_sid` leads its term."""

    table: FollowerTable = FOLLOWER_MESSAGES
    _peer: "RaftPeer"
    _held: list[Message] | None = None  # what the leader sends while this server stores the leader's term

    def _receive(self, link: Link[Message], message: Message) -> None:
        if self._held is None:
            super()._receive(link, message)
        else:
            self._held.append(message)

    def _other_term(self, hello: Hello) -> None:
        # A later term is proven: this server has reached its leader where zoo.cfg says that it is.
        peer = self._peer
        if not (peer.options.guards_terms and peer.term < hello.term <= MOST_TERM):
            super()._other_term(hello)
        self._held = []
        peer.enter(hello.term)
        peer.when_durable(self._go_on)

    def _go_on(self) -> None:
        held, self._held = self._held, None
        if self._link is not None and held:
            self._link.take(held)

    def _may_serve(self, zxid: int) -> bool:
        # The leader has committed an entry of its own term, and so knows of everything that was committed before.
        return zxid > start_of(self._peer.term)
