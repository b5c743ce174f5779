"""A proposer: collects promises for its ballot, takes over what may be chosen, then proposes in that ballot.

It takes the log that was accepted in the highest ballot among a majority, and proposes all of it again in its own
ballot, up to what is known to be chosen. So it may commit entries of earlier ballots by counting. Slots are taken in
order: a txn is a change to the tree as all txns before it leave it. stages.py has the stages of each acceptor.
Sources: Lamport, Paxos Made Simple (2001), section 3; Chandra and others, Paxos Made Live (2007).
"""

from typing import TYPE_CHECKING, Any

from recipes.core.errors import WireError
from recipes.core.link import Link
from recipes.core.paxos import wire as p
from recipes.core.paxos.stages import PROGRESS_MESSAGES
from recipes.core.replicas import matching
from recipes.core.replicas.ballots import Ballot, Kind
from recipes.core.replicas.progress import Progress
from recipes.core.replicas.stages import ProgressStage, ProgressTable
from recipes.core.replicas.whole_log import WholeLogLeader
from recipes.core.replicas.wire import Hello
from recipes.core.replication import Entry
from recipes.core.zxid import epoch_of

if TYPE_CHECKING:
    from recipes.core.paxos.peer import PaxosPeer


class Leader(WholeLogLeader):
    """What a server does in a ballot of its own. prepared: a majority has promised, and this server leads."""

    table: ProgressTable = PROGRESS_MESSAGES
    _peer: "PaxosPeer"

    def __init__(self, peer: "PaxosPeer", patience_ms: int) -> None:
        super().__init__(peer)
        self.prepared: bool = False
        self.connected: bool = False  # it does not keep others from a higher ballot yet
        self._ends_ms = peer.now_ms + patience_ms
        self._asks = False
        self._promises: dict[int, p.Promise] = {}  # by sid
        self._hellos: dict[int, Hello] = {}  # by key of the link, while promises are collected
        self._learns_from = -1  # the acceptor whose log this one takes over
        self._learned: list[Entry] = []
        self._learns_behind: int | None = None  # the entry before these
        self._denied: set[int] = set()

    def begin(self) -> None:
        """Ask for promises, this server's own among them; its ballot is on disk."""
        peer = self._peer
        if peer.leader is self:
            self._asks = True
            self._next_beat_ms = peer.now_ms + peer.settings.tick_ms // 2
            last_zxid = peer.history.last_zxid
            self._promises[peer.settings.sid] = p.Promise(self.term, peer.accepted, last_zxid, peer.committed_zxid)
            self._announce()
            self._count_promises()

    def _announce(self) -> None:
        peer = self._peer
        if self.prepared:
            super()._announce()
        elif self._asks:
            for sid in self._membership.voters:
                if sid != peer.settings.sid and sid not in self._by_sid:
                    peer.say(sid, Ballot(Kind.PREPARE, self.term, peer.history.last_zxid))

    def _why_end(self) -> str:
        if self.prepared:
            return super()._why_end()
        return "no majority has promised in time" if self._peer.now_ms > self._ends_ms else ""

    # Promises.

    def _take_in(self, progress: Progress, hello: Hello) -> None:
        if self.prepared:
            super()._take_in(progress, hello)
        else:
            self._hellos[progress.link.key] = hello
            progress.enter(ProgressStage.PROMISING)

    def _promised(self, progress: Progress, promise: p.Promise) -> None:
        if promise.ballot != self.term:
            raise WireError(f"PROMISE of ballot {promise.ballot}: expected {self.term}")
        if progress.sid in self._membership.voters:
            self._promises[progress.sid] = promise
            self._count_promises()

    def _best(self) -> int:
        """The server whose log was accepted in the highest ballot, and of these the longest; this server if it has it.

        A value that may be chosen is in the log of the highest ballot: acceptors take slots in order, so all of that
        ballot is in one log, and the shorter ones are its beginnings.
        """
        own = self._promises[self._peer.settings.sid]
        best = max(self._promises.values(), key=lambda promise: (promise.accepted, promise.last_zxid))
        if (best.accepted, best.last_zxid) == (own.accepted, own.last_zxid):
            return self._peer.settings.sid
        return next(sid for sid, promise in self._promises.items() if promise is best)

    def _count_promises(self) -> None:
        if self.prepared or self._learns_from != -1 or not self._membership.is_quorum(self._promises):
            return
        sid = self._best()
        if sid == self._peer.settings.sid:
            self._lead()
        else:
            self._learns_from = sid
            self._learn(self._peer.history.floor(self._promises[sid].last_zxid))

    def _learn(self, zxid: int | None) -> None:
        """Ask for what an acceptor has accepted behind `zxid`, which may be in both logs; None: this one ends there."""
        if zxid is None:
            self._peer.look(f"server {self._learns_from} has accepted what this one cannot learn")
            return
        self._learned, self._learns_behind = [], None
        self._by_sid[self._learns_from].link.send(p.encode_learn(self.term, zxid))

    def denied(self, sid: int) -> None:
        """A server does not promise. Where no majority can, let another server propose."""
        peer = self._peer
        if not self.prepared and self._asks:
            self._denied.add(sid)
            if not self._membership.is_quorum([each for each in self._membership.voters if each not in self._denied]):
                peer.look("a majority does not promise")

    def _reported(self, progress: Progress, report: p.Report) -> None:
        """Take over the log of an acceptor, behind an entry that both have."""
        peer = self._peer
        if report.ballot != self.term or progress.sid != self._learns_from:
            raise WireError("REPORT that nobody asked for")
        for entry in report.entries:
            if epoch_of(entry.zxid) > self.term:
                raise WireError(f"entry 0x{entry.zxid:x} in ballot {self.term}")
        if self._learns_behind is None:
            self._learns_behind = report.prev_zxid
        self._learned += report.entries
        if report.more:
            return
        prev_zxid = matching.matched(peer.history, peer.committed_zxid, self._learns_behind)
        if prev_zxid is None:
            self._learn(peer.history.floor(self._learns_behind))
        else:
            self._take_over(prev_zxid, self._promises[progress.sid].last_zxid)
            self._lead()

    def _take_over(self, prev_zxid: int, last_zxid: int) -> None:
        """Make this server's log the one that was learned behind `prev_zxid`, which ends at `last_zxid`."""
        peer = self._peer
        cut_zxid, entries = matching.change(peer.history, prev_zxid, self._learned)
        if cut_zxid is not None:
            peer.cut(cut_zxid)
        for entry in entries:
            peer.append(entry)
        if peer.history.last_zxid > last_zxid:
            peer.cut(last_zxid)
        if peer.history.last_zxid != last_zxid:
            raise WireError(f"REPORT up to 0x{peer.history.last_zxid:x}: expected 0x{last_zxid:x}")
        self._learned = []

    def _lead(self) -> None:
        """Propose the log in this ballot, to this server first. What an acceptor knows to be chosen needs no vote."""
        peer = self._peer
        self._take_log()
        self.prepared = self.connected = True
        self._began_ms = self._linked_ms = peer.now_ms
        self._heard_ms = dict.fromkeys(self._membership.voters, peer.now_ms)
        peer.accept_log()
        known_zxid = max(promise.chosen_zxid for promise in self._promises.values())
        if known_zxid > peer.committed_zxid:
            peer.commit(known_zxid)
        self._announce()
        hellos, self._hellos = self._hellos, {}
        for key, hello in hellos.items():
            if key in self._links:
                super()._take_in(self._links[key], hello)

    def _gone(self, link: Link[Any]) -> None:
        super()._gone(link)
        self._hellos.pop(link.key, None)
        if not self.prepared and link.sid not in self._by_sid:
            self._promises.pop(link.sid, None)
            if link.sid == self._learns_from:
                self._learns_from = -1
                self._count_promises()

    # Accepting.

    def _held(self) -> int:
        """Up to where a majority has accepted this log in this ballot."""
        peer = self._peer
        own_zxid = peer.flushed_zxid if peer.accepted_on_disk == self.term else -1
        held = {progress.sid: progress.durable_zxid for progress in self._by_sid.values() if progress.counts}
        return self._membership.committed(held | {peer.settings.sid: own_zxid})
