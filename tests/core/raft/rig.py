"""A RaftPeer alone: the test plays the other servers, and its disk."""

from __future__ import annotations

from typing import Any

from recipes.core.jute.txns import blank_txn
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.raft.options import SERVED, RaftOptions
from recipes.core.raft.peer import RaftPeer
from recipes.core.raft.terms import VOTE
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, Kind, from_notification, to_notification
from recipes.core.replicas.terms import TERM
from recipes.core.replication import Cell, Entry, Recovered, ReplicaSettings

TICK_MS = 100


def entry(zxid: int) -> Entry:
    return Entry(zxid, blank_txn(zxid))


class Alone:
    """Server 1 of `size` that vote, and of more that observe.

    log: what its disk has; it is `stuck` until `write` is called if told so.
    """

    def __init__(
        self,
        size: int = 3,
        log: tuple[int, ...] = (),
        term: int = 0,
        vote: bytes = b"0 -1",
        options: RaftOptions = SERVED,
        unsure: str = "",
        sid: int = 1,
        observers: int = 0,
        **limits: int,
    ) -> None:
        sids = range(1, size + observers + 1)
        servers = [QuorumServer(each, "h", 1, 2, observer=each > size) for each in sids]
        settings = ReplicaSettings(sid, Membership(servers), TICK_MS, 5, 4, **limits)
        last = -1 if unsure else (log[-1] if log else 0)
        cells = {TERM: b"%d" % term, VOTE: vote}
        found = Recovered(0, last, 0, (), [entry(zxid) for zxid in log], 0, cells, unsure, -1 if unsure else 0)
        self.now_ms = 1000
        self.peer = RaftPeer(settings, found, options, self.now_ms)
        self.log = list(log)
        self.cells = dict(cells)
        self.stuck = False
        self.writes: list[Any] = []
        self.applied: list[int] = []
        self.events: list[Any] = []
        self.said: list[tuple[int, Ballot]] = []
        self.notes: list[str] = []
        self.dials: list[int] = []
        self.sent: dict[int, list[w.Message]] = {}
        self.turn()

    def turn(self) -> None:
        """Take what is decided, and let the disk work, until nothing is left."""
        peer = self.peer
        while True:
            ready, outbox = peer.take_ready(), peer.take_outbox()
            self.writes += ready.writes
            self.applied += [commit.zxid for commit in ready.commits if isinstance(commit, Entry)]
            self.events += ready.events
            self.notes += outbox.notes
            for sid, note in outbox.votes:
                ballot = from_notification(note, peer.ensemble, peer.dialect.protocol)
                assert isinstance(ballot, Ballot)
                self.said.append((sid, ballot))
            if outbox.dial is not None:
                self.dials.append(outbox.dial)
            for link in outbox.touched:
                reader = w.MessageReader(RAFT_MESSAGES, 1 << 20)
                reader._begun = None
                data = b"".join(item if isinstance(item, bytes) else b"".join(item) for item in link.out)
                link.out.clear()
                self.sent.setdefault(link.key, []).extend(reader.feed(data))
            if not self.writes or self.stuck:
                return
            self.write()

    def write(self, count: int = 1) -> None:
        for write in self.writes[:count]:
            if isinstance(write, Entry):
                self.log.append(write.zxid)
                self.peer.flushed(write.zxid)
            else:
                if isinstance(write, Cell):
                    self.cells[write.name] = write.value
                else:
                    self.log = [zxid for zxid in self.log if zxid <= write.zxid]
                self.peer.written(write, write.zxid if hasattr(write, "zxid") else 0)
        del self.writes[:count]

    def wait(self, ms: int) -> None:
        """Let time pass."""
        self.now_ms += ms
        self.peer.begin_turn(self.now_ms)
        if self.peer.deadline_ms is not None and self.peer.deadline_ms <= self.now_ms:
            self.peer.tick()
        self.turn()

    def until_it(self, kind: Kind) -> Ballot:
        """Let time pass until it says this to server 2."""
        for _ in range(1000):
            if found := [ballot for sid, ballot in self.said if sid == 2 and ballot.kind is kind]:
                self.said.clear()
                return found[-1]
            self.wait(10)
        raise AssertionError(f"it never says {kind.name}")

    def hears(self, sid: int, kind: Kind, term: int, zxid: int = 0) -> list[tuple[int, Ballot]]:
        """A ballot comes; return what is said to it."""
        self.said.clear()
        self.peer.begin_turn(self.now_ms)
        self.peer.notified(sid, to_notification(Ballot(kind, term, zxid), self.peer.ensemble, b""))
        self.turn()
        return self.said

    def is_asked(self, sid: int, term: int, zxid: int = 0) -> list[tuple[int, Ballot]]:
        """A candidate asks whether it would be elected, and then for the vote; return what is said to the latter."""
        self.hears(sid, Kind.ASK_EARLY, term - 1, zxid)
        return self.hears(sid, Kind.ASK, term, zxid)

    def lead(self) -> None:
        """Win an election."""
        asked = self.until_it(Kind.ASK_EARLY)
        self.hears(2, Kind.GRANT_EARLY, asked.term)
        self.hears(2, Kind.GRANT, self.peer.term)
        assert self.peer.leader is not None

    def joined_by(self, sid: int, last_zxid: int = 0) -> Any:
        """A follower connects; return its link."""
        link = self.peer.accept()
        assert link is not None
        self.peer.begin_turn(self.now_ms)
        link.receive(RAFT_MESSAGES.encode_hello(self.peer.ensemble, sid, self.peer.term, last_zxid))
        self.turn()
        return link

    def follow(self, sid: int, term: int) -> Any:
        """A leader announces itself, and answers the call; return the link."""
        self.hears(sid, Kind.LEADS, term)
        link = self.peer.dialled(sid)
        assert link is not None
        link.receive(RAFT_MESSAGES.encode_hello(self.peer.ensemble, sid, term, 0))
        self.turn()
        return link

    def takes(self, link: Any, data: bytes) -> list[w.Message]:
        """Bytes come over a link; return what is sent there."""
        self.sent[link.key] = []
        self.peer.begin_turn(self.now_ms)
        link.receive(data)
        self.turn()
        return self.sent[link.key]
