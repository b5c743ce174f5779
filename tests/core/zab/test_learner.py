"""What a learner takes from its leader, and how it leaves one that says something wrong, or nothing any more."""

from itertools import pairwise
from random import Random

import pytest

from recipes.core.jute import quorum as q
from recipes.core.jute.codec import write_buffer
from recipes.core.replication import Truncate
from recipes.core.zab.epochs import epoch_cell
from tests.core.zab.conftest import EMPTY_TREE, TICK_MS, boot_of, entry_of

E1, E2, E3 = 1 << 32, 2 << 32, 3 << 32
LEADER = 3
INIT_MS, SYNC_MS = 10 * TICK_MS, 5 * TICK_MS


def packet(kind, zxid, data=None):
    return q.encode_packet(kind, zxid, data)


def proposal(zxid, of=None, kind=q.PROPOSAL):
    """of: the zxid within the txn, where that is another."""
    return packet(kind, zxid, entry_of(of or zxid).payload)


def commit(zxid):
    return packet(q.COMMIT, zxid)


def snap(zxid):
    return packet(q.SNAP, zxid) + EMPTY_TREE + write_buffer(b"BenWasHere")


LEADERINFO = packet(q.LEADERINFO, E2, q.encode_leader_info())
# What brings a server whose log ends at E1 + 1 to epoch 2, and there to its first entry.
RIGHT = (
    LEADERINFO,
    packet(q.DIFF, E1 + 2),
    proposal(E1 + 2),
    commit(E1 + 2),
    packet(q.NEWLEADER, E2),
    packet(q.UPTODATE, -1),
    proposal(E2 + 1),
    commit(E2 + 1),
)
TOLD_EPOCH, SYNCING, SYNCED, STARTING, SERVING, WRITTEN = 1, 2, 4, 5, 6, 8  # how much of it has been said

WRONG = {
    "a sync without a beginning": (TOLD_EPOCH, proposal(E1 + 2)),
    "a commit before the sync": (TOLD_EPOCH, commit(E1 + 1)),
    "NEWLEADER before the sync": (TOLD_EPOCH, packet(q.NEWLEADER, E2)),
    "UPTODATE before the sync": (TOLD_EPOCH, packet(q.UPTODATE, -1)),
    "LEADERINFO twice": (TOLD_EPOCH, LEADERINFO),
    "a TRUNC to what is not in the log": (TOLD_EPOCH, packet(q.TRUNC, E1 + 2)),
    "a TRUNC to nowhere": (TOLD_EPOCH, packet(q.TRUNC, -1)),
    "a SNAP of a later epoch": (TOLD_EPOCH, snap(E3 + 1)),
    "a SNAP of nothing": (TOLD_EPOCH, snap(-1)),
    "DIFF twice": (SYNCING, packet(q.DIFF, E1 + 2)),
    "a gap in the sync": (SYNCING, proposal(E1 + 3)),
    "a later epoch in the sync": (SYNCING, proposal(E3 + 1)),
    "another txn in the sync": (SYNCING, proposal(E1 + 2, of=E1 + 3)),
    "no txn in the sync": (SYNCING, packet(q.PROPOSAL, E1 + 2)),
    "a commit beyond the sync": (SYNCING, commit(E1 + 2)),
    "SYNC in the sync": (SYNCING, packet(q.SYNC, -1)),
    "REVALIDATE in the sync": (SYNCING, packet(q.REVALIDATE, -1, q.encode_revalidated(1, True))),
    "NEWLEADER of a later epoch": (SYNCED, packet(q.NEWLEADER, E3)),
    "NEWLEADER of an earlier epoch": (SYNCED, packet(q.NEWLEADER, E1)),
    "NEWLEADER within an epoch": (SYNCED, packet(q.NEWLEADER, E2 + 1)),
    "UPTODATE before NEWLEADER": (SYNCED, packet(q.UPTODATE, -1)),
    "NEWLEADER twice": (STARTING, packet(q.NEWLEADER, E2)),
    "DIFF behind NEWLEADER": (STARTING, packet(q.DIFF, E1 + 2)),
    "an earlier epoch behind NEWLEADER": (STARTING, proposal(E1 + 3)),
    "a commit beyond NEWLEADER": (STARTING, commit(E2 + 1)),
    "SYNC before UPTODATE": (STARTING, packet(q.SYNC, -1)),
    "an earlier epoch": (SERVING, proposal(E1 + 3)),
    "a later epoch": (SERVING, proposal(E3 + 1)),
    "a commit of nothing": (SERVING, commit(E2 + 1)),
    "a gap": (WRITTEN, proposal(E2 + 3)),
    "an entry twice": (WRITTEN, proposal(E2 + 1)),
    "an earlier epoch behind this one": (WRITTEN, proposal(E1 + 3)),
    "a later epoch behind this one": (WRITTEN, proposal(E3 + 1)),
    "another txn": (WRITTEN, proposal(E2 + 2, of=E2 + 3)),
    "no txn": (WRITTEN, packet(q.PROPOSAL, E2 + 2)),
    "half a txn": (WRITTEN, packet(q.PROPOSAL, E2 + 2, entry_of(E2 + 2).payload[:-9])),
    "a commit beyond what was proposed": (WRITTEN, commit(E2 + 2)),
    "a commit twice": (WRITTEN, commit(E2 + 1)),
    "LEADERINFO when it serves": (WRITTEN, LEADERINFO),
    "DIFF when it serves": (WRITTEN, packet(q.DIFF, E2 + 1)),
    "TRUNC when it serves": (WRITTEN, packet(q.TRUNC, E1 + 1)),
    "SNAP when it serves": (WRITTEN, snap(E2 + 1)),
    "NEWLEADER when it serves": (WRITTEN, packet(q.NEWLEADER, E2)),
    "SYNC that nobody asked for": (WRITTEN, packet(q.SYNC, -1)),
    "REVALIDATE of nothing": (WRITTEN, packet(q.REVALIDATE, -1)),
    "no packet": (WRITTEN, b"\x7f" * 40),
}


class Learning:
    """Server `sid`, whose leader says what the test does."""

    def __init__(self, rig, sid=1):
        self.rig = rig
        self.node = rig[sid]
        self.peer = self.node.peer
        rig.elect(LEADER, sid)
        assert self.peer.take_outbox().dial == LEADER
        self.link = self.peer.dialled(LEADER)

    def hears(self, *packets):
        for data in packets:
            self.link.receive(data)
            self.settle()

    def settle(self):
        self.node.flush()

    def at(self, ms):
        """Time passes, up to `ms` behind the beginning."""
        self.peer.begin_turn(self.rig.now_ms + ms)
        self.peer.tick()

    def has(self):
        """All on which what a leader says can have an effect."""
        node, peer = self.node, self.peer
        zxids = peer.history.last_zxid, peer.flushed_zxid, peer.committed_zxid, peer.applied_zxid
        return list(node.log), list(node.done), list(node.applied), (peer.accepted_epoch, peer.current_epoch), zxids

    def has_left(self):
        return self.link.wants_close and self.peer.learner is None and not self.peer.serving


def learning(rig_of, *, observer=False):
    sid = 4 if observer else 1
    return Learning(rig_of(observers=int(observer), boots={sid: boot_of(E1 + 1, current=1)}), sid)


def test_what_is_right_is_taken(rig_of):
    it = learning(rig_of)
    it.hears(*RIGHT)
    assert it.peer.serving and it.peer.epoch == 2
    assert it.node.log == [E1 + 1, E1 + 2, E2 + 1]
    assert it.node.applied == [E1 + 2, E2 + 1]
    assert it.node.done == [epoch_cell("acceptedEpoch", 2), epoch_cell("currentEpoch", 2)]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_word_of_its_leader_changes_nothing_and_a_follower_looks_again(rig_of, wrong):
    said, data = WRONG[wrong]
    it = learning(rig_of)
    it.hears(*RIGHT[:said])
    assert it.peer.learner is not None and it.peer.serving == (said >= SERVING)
    before = it.has()
    it.hears(data)
    assert it.has_left() and it.peer.role == "looking"
    it.hears(*RIGHT[said:])  # what comes behind it is not heard either
    assert it.has() == before
    assert it.peer._election.looked[-1] == (it.peer.current_epoch, it.node.log[-1])


@pytest.mark.parametrize(
    "data",
    [
        proposal(E2 + 3, kind=q.INFORM),
        proposal(E1 + 3, kind=q.INFORM),
        proposal(E3 + 1, kind=q.INFORM),
        proposal(E2 + 2, of=E2 + 3, kind=q.INFORM),
    ],
    ids=["a gap", "an earlier epoch", "a later epoch", "another txn"],
)
@pytest.mark.parametrize("written", [False, True])
def test_an_observer_takes_only_what_follows_in_its_epoch(rig_of, data, written):
    it = learning(rig_of, observer=True)
    it.hears(*RIGHT[:SERVING], *[proposal(E2 + 1, kind=q.INFORM)] * written)
    assert it.peer.role == "observer"
    before = it.has()
    it.hears(data)
    assert it.has_left()
    assert it.has() == before


def test_nobody_is_let_serve_before_its_epoch_is_on_its_disk(rig_of):
    it = learning(rig_of)
    it.hears(*RIGHT[:SYNCED])
    it.node.disk_stuck = True
    it.hears(*RIGHT[SYNCED:SERVING])
    assert it.has_left()
    it.node.disk_stuck = False
    it.settle()
    assert it.node.changes == [] and it.node.applied == []


def test_what_comes_while_the_log_is_truncated_is_looked_at_like_anything_else(rig_of):
    it = Learning(rig_of(boots={1: boot_of(E1 + 1, E1 + 2, current=1)}))
    it.hears(LEADERINFO)
    it.node.disk_stuck = True
    it.hears(packet(q.TRUNC, E1 + 1), proposal(E1 + 3), packet(q.NEWLEADER, E2))
    assert it.peer.learner is not None
    it.node.disk_stuck = False
    it.settle()
    assert it.has_left()
    assert it.node.done == [epoch_cell("acceptedEpoch", 2), Truncate(E1 + 1)]
    assert it.peer.history.last_zxid == E1 + 1 and it.node.waiting == []


@pytest.mark.parametrize("seed", range(10))
def test_no_bytes_of_a_leader_end_a_learner(rig_of, seed):
    chance = Random(seed)
    for _ in range(40):
        it = learning(rig_of)
        said = bytearray(b"".join(RIGHT) + snap(E2 + 1) if chance.randrange(4) else chance.randbytes(400))
        for _ in range(chance.randrange(6)):
            said[chance.randrange(len(said))] = chance.randrange(256)
        cuts = sorted(chance.choices(range(len(said)), k=5))
        it.hears(*[bytes(said[one:other]) for one, other in pairwise([0, *cuts, len(said)])])
        assert it.node.changes in ([], [True], [True, False])


@pytest.mark.parametrize("said", [0, TOLD_EPOCH, SYNCING, SYNCED, STARTING, WRITTEN])
def test_a_leader_that_falls_silent_is_left_when_its_time_is_over(rig_of, said):
    limit_ms = INIT_MS if said < STARTING else SYNC_MS
    it = learning(rig_of)
    it.hears(*RIGHT[:said])
    before = it.has()
    assert it.peer.deadline_ms == it.rig.now_ms + limit_ms
    it.at(limit_ms - 1)
    assert it.peer.learner is not None
    it.at(limit_ms)
    assert it.has_left()
    assert it.peer.why_looking == "no message came in time from the leader 3"
    it.settle()
    assert it.has() == before


@pytest.mark.parametrize("down", [True, False], ids=["down", "not leading"])
def test_a_learner_that_cannot_reach_its_leader_looks_again(rig_of, down):
    rig = rig_of()
    rig.down.update((2, LEADER) if down else ())
    rig.elect(LEADER, 1)
    rig.run()
    for _ in range(4):  # five attempts, 50 ms apart
        assert rig[1].peer.learner is not None
        rig.advance(50)
    assert rig[1].peer.learner is None
    assert rig[1].peer.why_looking == "the leader 3 cannot be reached"


def test_an_attempt_to_connect_that_comes_to_nothing_is_given_up(rig_of):
    rig = rig_of()
    rig.elect(LEADER, 1)
    peer = rig[1].peer
    assert peer.take_outbox().dial == LEADER
    assert peer.deadline_ms == rig.now_ms + INIT_MS
    peer.begin_turn(rig.now_ms + INIT_MS)
    peer.tick()
    assert peer.learner is None and peer.why_looking == "no message came in time from the leader 3"
    assert peer.dialled(LEADER) is None  # it comes too late
