"""A leader in raft: only entries of its own term does it commit by counting.

A term begins with an entry that changes nothing. Once a quorum has it on disk, everything before it is committed too.
replicas/tables.py has the stages of each follower.
Source: Ongaro and Ousterhout (2014), sections 5.3 and 5.4; Ongaro (2014), sections 6.2 and 6.4.
"""

from typing import TYPE_CHECKING

from recipes.core.errors import invariant
from recipes.core.jute.txns import blank_txn, decode_txn
from recipes.core.link import Link
from recipes.core.raft.claims import Newcomers, is_far
from recipes.core.replicas.leader import SharedLeader
from recipes.core.replicas.progress import Progress
from recipes.core.replicas.stages import ProgressTable
from recipes.core.replicas.tables import PROGRESS_MESSAGES
from recipes.core.replicas.wire import Hello, Message
from recipes.core.replication import Entry
from recipes.core.zxid import epoch_of, start_of

if TYPE_CHECKING:
    from recipes.core.raft.peer import RaftPeer


class Leader(SharedLeader):
    """What a server does while it leads its term."""

    table: ProgressTable = PROGRESS_MESSAGES
    _peer: "RaftPeer"

    def __init__(self, peer: "RaftPeer") -> None:
        super().__init__(peer)
        self.checks_quorum: bool = peer.options.check_quorum
        self.skips_terms: bool = peer.options.back_off_by_term
        self._believes = not peer.options.guards_terms  # whatever term a server says it is in
        self._newcomers = Newcomers(peer.settings.tick_ms)
        self._beat = 0

    def begin(self) -> None:
        """Begin the term with an entry of its own, and tell all servers who leads."""
        peer = self._peer
        invariant(epoch_of(peer.history.last_zxid) < self.term, "a term has one leader")
        zxid = start_of(self.term) + 1
        payload = blank_txn(zxid)
        peer.append(Entry(zxid, payload, decode_txn(payload)[0]))
        self._next_beat_ms = peer.now_ms + peer.settings.tick_ms // 2
        self._announce()

    # What is claimed in a member's name.

    def _why_not(self, hello: Hello) -> str:
        why = super()._why_not(hello)
        if not why and hello.term > self.term and not self._believes:
            return f"it is in term {hello.term}, and connects to the leader of term {self.term}"
        return why

    def is_late(self, sid: int, term: int) -> None:
        """A server that cannot follow says why: it is in a later term. Give way, once in a while, in its favour."""
        peer = self._peer
        if sid in self._by_sid:
            return  # it follows
        if is_far(term, self.term):
            peer.note_once(
                sid,
                f"somebody says that server {sid} is in term {term}, far above term {self.term}: no leader gives way "
                f"for that; if it is true, let server {sid} rejoin without data",
            )
        elif peer.late_terms.gives_way(sid, term, self.term, self._beat, peer.now_ms):
            peer.give_way(sid, term)

    def _keeps(self, older: Progress, progress: Progress, hello: Hello) -> bool:
        if self._believes or not older.round:  # it has answered no heartbeat
            return False
        self._round += 1
        self._newcomers.wait(progress, hello, self._peer.now_ms, self._round)
        for each in self._by_sid.values():
            self._flush(each)
        return True

    def _is_heard(self, progress: Progress) -> bool:
        # Who only introduces itself, again and again, must not keep a leader that is cut off from ending its term.
        return self._believes or progress.answered

    def _gone(self, link: Link[Message]) -> None:
        progress = self._links.get(link.key)
        super()._gone(link)
        if progress is not None:
            self._newcomers.gone(progress)
            if progress.sid not in self._by_sid and (newcomer := self._newcomers.next(progress.sid)) is not None:
                self._joins(*newcomer)

    def _drop_silent(self) -> None:
        super()._drop_silent()
        if self._peer.leader is not self:
            return  # it gave up
        self._newcomers.settle(self._by_sid, self._peer.now_ms)
        self._beat += 1

    # What is committed.

    def _commit_what_a_quorum_has(self) -> None:
        """Commit what a quorum of disks has, if it is of this term and this server can serve.

        The term's first entry must be on this server's own disk, too. The followers serve once they know that it is
        committed, and this server would drop the requests that they then forward.
        """
        zxid = self._held()
        serves = epoch_of(self._peer.flushed_zxid) == self.term
        if serves and zxid > self._peer.committed_zxid and epoch_of(zxid) == self.term:
            self._peer.commit(zxid)
        self._answer_syncs()

    def applied(self, zxid: int) -> None:
        """Everything up to `zxid` is handed over: serve, once that is an entry of this term."""
        if zxid > start_of(self.term) and self._peer.leader is self:
            self._peer.serve()
