"""A leader in raft: only entries of its own term does it commit by counting.

A term begins with an entry that changes nothing. Once a quorum has it on disk, everything before it is committed too.
replicas/tables.py has the stages of each follower.
Source: Ongaro and Ousterhout (2014), sections 5.3 and 5.4; Ongaro (2014), sections 6.2 and 6.4.
"""

from typing import TYPE_CHECKING

from recipes.core.errors import invariant
from recipes.core.jute.txns import blank_txn, decode_txn
from recipes.core.replicas.leader import Leader as AnyLeader
from recipes.core.replicas.stages import ProgressTable
from recipes.core.replicas.tables import PROGRESS_MESSAGES
from recipes.core.replication import Entry
from recipes.core.zxid import epoch_of, start_of

if TYPE_CHECKING:
    from recipes.core.raft.peer import RaftPeer


class Leader(AnyLeader):
    """What a server does while it leads its term."""

    table: ProgressTable = PROGRESS_MESSAGES

    def __init__(self, peer: "RaftPeer") -> None:
        super().__init__(peer)
        self.checks_quorum: bool = peer.options.check_quorum
        self.skips_terms: bool = peer.options.back_off_by_term

    def begin(self) -> None:
        """Begin the term with an entry of its own, and tell all servers who leads."""
        peer = self._peer
        invariant(epoch_of(peer.history.last_zxid) < self.term, "a term has one leader")
        zxid = start_of(self.term) + 1
        payload = blank_txn(zxid)
        peer.append(Entry(zxid, payload, decode_txn(payload)[0]))
        self._next_beat_ms = peer.now_ms + peer.settings.tick_ms // 2
        self._announce()

    def _count(self) -> None:
        """Commit what a quorum of disks has, if it is of this term."""
        zxid = self._held()
        if zxid > self._peer.committed_zxid and epoch_of(zxid) == self.term:
            self._peer.commit(zxid)
        self._answer_syncs()

    def applied(self, zxid: int) -> None:
        """Everything up to `zxid` is handed over: serve, once that is an entry of this term."""
        if zxid > start_of(self.term) and self._peer.leader is self:
            self._peer.serve()
