"""A rig of peers without sockets: the test decides who is elected, when the disks answer, and which links break.

With the fixture `rig_of` the test decides elections; a Rig made without it lets its servers vote.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from recipes.core.disk.jobs import Job
from recipes.core.disk.replacements import Replacements
from recipes.core.disk.write_queue import WriteQueue
from recipes.core.jute import opcodes as op
from recipes.core.jute.quorum import PacketReader
from recipes.core.jute.txns import encode_txn
from recipes.core.jute.votes import FOLLOWING, LEADING, LOOKING, OBSERVING, Notification
from recipes.core.link import Link
from recipes.core.member.stats import Stats
from recipes.core.member.store_memory import StoreMemory
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.replication import (
    Cell,
    Entry,
    Operation,
    Outbox,
    ReplicaSettings,
    RoleChanged,
    SnapshotRequested,
    Truncate,
)
from recipes.core.tree.tree import DataTree
from recipes.core.turn import Turn
from recipes.core.zab.election import IDLE, Vote
from recipes.core.zab.peer import RecoveredState, ZabPeer
from tests.core.told_member import NoSnapshots

TICK_MS = 100
THE_TEST = 0  # in place of a server's number: the test, which decides the elections
EMPTY_TREE = bytes.fromhex("00000000 00000000 00000001 2f")


class ToldElection:
    """Stands in for Election: a vote of THE_TEST decides."""

    def __init__(self, sid, membership, observer=False):
        self.sid = sid
        self.observer = observer
        self.state, self.vote = IDLE, None
        self.deadline_ms = None
        self.established_epoch = None
        self.looked = []

    def look(self, last_zxid, current_epoch, now_ms):
        self.state, self.vote = LOOKING, None
        self.looked.append((current_epoch, last_zxid))

    def leave(self):
        self.state, self.vote = IDLE, None

    def tick(self, now_ms):
        pass

    def receive(self, sender, said, now_ms):
        if sender != THE_TEST:  # votes of other servers have no effect
            return
        self.vote = Vote(said.leader, 0, 1, 0)
        self.state = LEADING if said.leader == self.sid else OBSERVING if self.observer else FOLLOWING

    def unreachable(self, sid, is_unreachable):
        pass

    def established(self, epoch):
        self.established_epoch = epoch

    def take_votes(self):
        return []


class Quiet:
    """A node's peer, as a Replica whose outbox is not emptied while the node is muted."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __getattr__(self, name: str) -> object:
        return getattr(self._node.peer, name)

    def take_outbox(self) -> Outbox | None:
        return None if self._node.muted else self._node.peer.take_outbox()


class Node:
    """One server: its peer and its turns. The node stands in for its Member, its disk and its shell.

    waiting: writes that the peer has decided and the disk has not got yet. disk_stuck: the disk finishes no job; job:
    the job under way. muted: the peer's messages to other servers are not sent.
    """

    disk_full = has_work = False

    def __init__(self, rig: Rig, sid: int, boot: RecoveredState) -> None:
        self.rig = rig
        self.sid = sid
        self.now_ms = rig.now_ms
        self.log: list[int] = [entry.zxid for entry in boot.history]
        self.done: list[object] = []
        self.applied: list[int] = []
        self.events: list[object] = []
        self.memory = StoreMemory(0)
        self.stats = Stats()
        self.waiting: list[object] = []
        self.disk_stuck = self.cannot_truncate = self.muted = self.busy = False
        self.job: Job | None = None
        self.notes: list[str] = []
        self.sent: list[tuple[int, object]] = []  # (to, packet)
        self.peer = ZabPeer(ReplicaSettings(sid, rig.membership, TICK_MS, 10, 5), boot, rig.now_ms)
        queue = WriteQueue(Replacements(nullcontext()))
        self.turn = Turn(self, Quiet(self), queue, NoSnapshots(), self, tick_ms=TICK_MS)

    def take(self) -> None:
        """Take the peer's commits, events and writes; the writes wait."""
        ready = self.peer.take_ready()
        self.waiting += ready.writes
        for commit in ready.commits:
            self.applied.append(commit.zxid if isinstance(commit, Entry) else commit)
        for event in ready.events:
            self.events.append(event)
            if isinstance(event, SnapshotRequested) and self.peer.leader is not None:
                self.peer.leader.dumped(event.link, self.peer.applied_zxid, iter([EMPTY_TREE]))

    def flush(self) -> None:
        """Let the disk finish all writes, and send nothing."""
        self.muted = True
        while self.step():
            pass
        self.muted = False

    def step(self) -> bool:
        """Run a turn, then the disk's jobs. Returns whether anything was sent or written.

        Messages that depend on these writes are sent in the next turn.
        """
        self.busy = False
        self.turn.carry_out()
        while self.job is not None and not self.disk_stuck:
            job, self.job = self.job, None
            self.finish(job)
            self.turn.done(job)
            self.take()
        return self.busy

    def finish(self, job: Job) -> None:
        """The disk does a job."""
        self.busy = True
        job.begin(self)
        job.finish(self)

    @property
    def changes(self) -> list[bool]:
        return [event.serving for event in self.events if isinstance(event, RoleChanged)]

    # What a Member does.

    def begin_turn(self, now_ms: int, wall_ms: int) -> None:
        self.now_ms = now_ms

    def tick(self) -> None:
        pass

    def take_writes(self) -> list[object]:
        self.take()
        waiting, self.waiting = self.waiting, []
        return waiting

    def count_writes(self, writes: object) -> None:
        pass

    def count_commits(self) -> None:
        pass

    def measure_memory(self) -> None:
        """It has no limit."""

    def stalled(self, by_ms: int) -> None:
        """It has no sessions."""

    def take_touched(self) -> list[object]:
        return []

    def flushed(self, zxid: int) -> None:
        self.peer.flushed(zxid)

    def written(self, operation: Operation, tree: DataTree | None) -> None:
        self.peer.written(operation, tree.last_zxid if tree is not None else 0)

    # What a shell does.

    def write(self, job: Job) -> bool:
        self.job = job
        return False

    def post(self, outbox: Outbox) -> None:
        self.notes += outbox.notes
        for sid, note in outbox.votes:
            if sid not in self.rig.down:
                self.busy = True
                self.rig[sid].peer.notified(self.sid, note)
        if outbox.dial is not None:
            self.busy = True
            self.rig._dial(self.sid, outbox.dial)
        for link in outbox.touched:
            self.busy |= self.rig._deliver(self.sid, link)

    def wake_at(self, now_ms: int) -> None:
        pass

    # What a disk does.

    def append(self, entries: list[Entry]) -> None:
        self.log += [entry.zxid for entry in entries]

    def sync(self) -> None:
        pass

    def reserve(self) -> bool:
        return True

    def carry_out(self, operation: Operation) -> DataTree | None:
        self.done.append(operation)
        if isinstance(operation, Cell):
            return None
        tree = DataTree()
        tree.last_zxid = -1 if self.cannot_truncate and isinstance(operation, Truncate) else operation.zxid
        return tree


class Rig:
    """Servers 1 to `voters`, and after them `observers` observers, joined without sockets.

    boots: what a server finds on its disk, by its number. groups, weights: as Membership has them. `rig[sid]` is a
    server's Node.

    elect(leader, *sids): tell these servers, or all, that `leader` is elected, whether they are a quorum or not.
    propose(leader, count): let the leader propose `count` entries; returns their zxids.
    step(): each running server has one turn and its disk's jobs. run(): steps until nothing moves.
    advance(ms): let virtual time pass, with ticks and turns. until_sent: steps until a packet was sent.
    kill(sid), cut(a, b): a server dies; the connection between two servers breaks.
    """

    def __init__(
        self,
        voters: int = 3,
        observers: int = 0,
        boots: dict[int, RecoveredState] | None = None,
        groups: dict[int, tuple[int, ...]] | None = None,
        weights: dict[int, int] | None = None,
    ) -> None:
        sids = range(1, voters + observers + 1)
        self.now_ms = 1000
        servers = [QuorumServer(sid, "127.0.0.1", 2000 + sid, 3000 + sid, sid > voters) for sid in sids]
        self.membership = Membership(servers, groups, weights)
        self.nodes = {sid: Node(self, sid, (boots or {}).get(sid, RecoveredState())) for sid in sids}
        self.pairs: dict[tuple[int, int], tuple[int, Link]] = {}  # (sid, key) -> the other end
        self.readers: dict[tuple[int, int], PacketReader] = {}
        self.down: set[int] = set()

    def __getitem__(self, sid: int) -> Node:
        return self.nodes[sid]

    def elect(self, leader: int, *sids: int) -> None:
        for sid in sids or tuple(self.nodes):
            self.nodes[sid].peer.notified(THE_TEST, Notification(LEADING, leader, 0, 1, 0, b""))

    def vote(self, sender: int, to: int, state: int, number: int) -> None:
        """`sender` sends `to` a notification with this state and this round."""
        leader = sender if state == LOOKING else to
        self.nodes[to].peer.notified(sender, Notification(state, leader, 0, number, 0, b""))

    def propose(self, leader: int, count: int = 1) -> list[int]:
        node = self.nodes[leader]
        made = []
        for _ in range(count):
            zxid = node.peer.leader._last_zxid + 1
            if not zxid & 0xFFFFFFFF or zxid >> 32 != node.peer.epoch:
                zxid = (node.peer.epoch << 32) + 1
            node.peer.leader.propose(entry_of(zxid))
            made.append(zxid)
        return made

    def until_sent(self, sender: int, to: int, kind: int) -> None:
        """Run steps until `sender` has sent `to` a packet of this type."""
        for _ in range(200):
            if any(other == to and packet.type == kind for other, packet in self[sender].sent):
                return
            self.step()
        raise AssertionError(f"server {sender} never sends a packet of type {kind} to server {to}")

    def step(self) -> bool:
        busy = False
        for sid, node in self.nodes.items():
            if sid not in self.down:
                busy |= node.step()
        return busy

    def run(self) -> None:
        for _ in range(200):
            if not self.step():
                return
        raise AssertionError("the servers never come to rest")

    def advance(self, ms: int) -> None:
        until = self.now_ms + ms
        while self.now_ms < until:
            self.now_ms += TICK_MS // 4
            for sid, node in self.nodes.items():
                if sid not in self.down:
                    node.turn.begin(self.now_ms, 0)
                    node.turn.wake()
            self.run()

    def kill(self, sid: int) -> None:
        self.down.add(sid)
        for (owner, _), (other, link) in list(self.pairs.items()):
            if owner == sid and other not in self.down:
                link.lost()

    def cut(self, a: int, b: int) -> None:
        """Both ends see the connection break."""
        for (owner, _), (other, link) in list(self.pairs.items()):
            if {owner, other} == {a, b} and not link.closed:
                link.lost()

    def by_hand(self, sid: int, link: Link) -> None:
        """The test takes the other end of this link, and reads nothing from it."""
        self.down.add(THE_TEST)
        self.pairs[sid, link.key] = (THE_TEST, link)

    def _dial(self, sid: int, to: int) -> None:
        theirs = None if to in self.down else self.nodes[to].peer.accept()
        if theirs is None:
            self.nodes[sid].peer.dial_failed(to)
            return
        ours = self.nodes[sid].peer.dialled(to)
        assert ours is not None
        self.pairs[sid, ours.key] = (to, theirs)
        self.pairs[to, theirs.key] = (sid, ours)

    def _deliver(self, sid: int, link: Link) -> bool:
        other, end = self.pairs[sid, link.key]
        parts: list[bytes] = []
        for part in link.out:
            parts += [part] if isinstance(part, bytes) else list(part)
        link.out.clear()
        data = b"".join(parts)
        if data:
            reader = self.readers.setdefault((sid, link.key), PacketReader(1 << 20))
            self.nodes[sid].sent += [(other, packet) for packet in reader.feed(data)]
            if not end.closed and other not in self.down:
                end.receive(data)
        if link.wants_close and not link.closed:
            if link.farewell and not end.closed and other not in self.down:
                end.receive(link.farewell)
            link.lost()
            if not end.closed:
                end.lost()
        return bool(data)


def entry_of(zxid: int) -> Entry:
    payload = encode_txn(7, 1, zxid, 0, op.SET_DATA, (b"/a", b"%x" % zxid, 1))
    return Entry(zxid, payload)


def boot_of(*zxids: int, current: int = 0, accepted: int | None = None) -> RecoveredState:
    entries = [entry_of(zxid) for zxid in zxids]
    base_zxid = zxids[0] - 1 if zxids and zxids[0] & 0xFFFFFFFF > 1 else 0
    return RecoveredState(current if accepted is None else accepted, current, base_zxid, entries)


@pytest.fixture
def rig_of(monkeypatch) -> Iterator[type[Rig]]:
    monkeypatch.setattr(ZabPeer, "election_class", ToldElection)
    yield Rig
