"""Servers that do not all weigh the same: in each phase it is the weight that decides, not the number."""

import pytest

from recipes.core.jute import quorum as q
from recipes.core.jute.votes import LOOKING
from recipes.core.zab.epochs import epoch_cell
from tests.core.zab.conftest import TICK_MS

E1 = 1 << 32
INIT_MS, SYNC_MS = 10 * TICK_MS, 5 * TICK_MS

# Of five servers, 1 and any other are a quorum, all others without 1 are none.
HEAVY = {"groups": {1: (1, 2, 3, 4, 5)}, "weights": {1: 4}}
# A quorum needs both groups: 1 in the first, 4 and 5 in the second.
GROUPED = {"groups": {1: (1, 2), 2: (3, 4, 5)}, "weights": {1: 3, 3: 0}}

# Whom each of them cannot do without.
MISSED = [pytest.param(HEAVY, 1, id="heavy-1"), *[pytest.param(GROUPED, sid, id=f"grouped-{sid}") for sid in (1, 4)]]


def types_sent(node, to):
    return [packet.type for other, packet in node.sent if other == to]


def others(rig, sid):
    return [other for other in rig.nodes if other != sid]


@pytest.mark.parametrize(("weighing", "missed"), MISSED)
def test_four_of_five_that_are_no_quorum_agree_on_no_epoch(rig_of, weighing, missed):
    rig = rig_of(voters=5, **weighing)
    rig.elect(5, *others(rig, missed))
    rig.run()
    assert all(q.FOLLOWERINFO in types_sent(rig[sid], 5) for sid in others(rig, missed) if sid != 5)
    assert rig[5].sent == [] and rig[5].done == []
    rig.advance(INIT_MS + TICK_MS)
    assert rig[5].peer.why_looking == "no quorum has joined in time"
    assert not any(node.peer.serving for node in rig.nodes.values())


@pytest.mark.parametrize(("weighing", "missed"), MISSED)
def test_four_of_five_that_are_no_quorum_do_not_settle_the_history(rig_of, weighing, missed):
    rig = rig_of(voters=5, **weighing)
    rig[missed].disk_stuck = True  # it does not come to its ACKEPOCH
    rig.elect(5)
    rig.run()
    assert all(q.ACKEPOCH in types_sent(rig[sid], 5) for sid in others(rig, missed) if sid != 5)
    assert rig[5].done == [epoch_cell("acceptedEpoch", 1)]
    rig[missed].disk_stuck = False
    rig.run()
    assert all(node.peer.serving for node in rig.nodes.values())


@pytest.mark.parametrize(("weighing", "missed"), MISSED)
def test_four_of_five_that_are_no_quorum_establish_nobody(rig_of, weighing, missed):
    rig = rig_of(voters=5, **weighing)
    rig.elect(5)
    rig.until_sent(5, missed, q.NEWLEADER)
    rig[missed].disk_stuck = True
    rig.run()
    assert all(q.ACK in types_sent(rig[sid], 5) for sid in others(rig, missed) if sid != 5)
    assert not any(node.peer.serving for node in rig.nodes.values())
    rig[missed].disk_stuck = False
    rig.run()
    assert all(node.peer.serving for node in rig.nodes.values())


@pytest.mark.parametrize(("weighing", "missed"), MISSED)
def test_four_of_five_disks_that_are_no_quorum_commit_nothing(rig_of, weighing, missed):
    rig = rig_of(voters=5, **weighing)
    rig.elect(5)
    rig.run()
    rig[missed].disk_stuck = True
    rig.propose(5)
    rig.run()
    assert all(rig[sid].log == [E1 + 1] and rig[sid].applied == [] for sid in others(rig, missed))
    rig[missed].disk_stuck = False
    rig.run()
    assert all(node.applied == [E1 + 1] for node in rig.nodes.values())


@pytest.mark.parametrize(("weighing", "missed"), MISSED)
def test_four_of_five_that_are_no_quorum_keep_no_leader(rig_of, weighing, missed):
    rig = rig_of(voters=5, **weighing)
    rig.elect(5)
    rig.run()
    timeout_ms = 3 * TICK_MS
    rig.advance(TICK_MS)
    assert rig[5].peer.in_touch(timeout_ms)
    rig.down.add(missed)  # stopped, not gone
    heard_ms = rig[5].peer.leader.quorum_heard_ms()
    rig.advance(2 * TICK_MS)
    assert rig[5].peer.leader.quorum_heard_ms() == heard_ms
    assert not rig[5].peer.in_touch(timeout_ms)  # whoever of them still answers
    rig.advance(SYNC_MS)
    assert rig[5].peer.why_looking == "a quorum has been silent for too long"
    assert all(rig[sid].changes == [True, False] for sid in others(rig, missed))


def test_two_of_five_that_are_a_quorum_do_everything_alone(rig_of):
    rig = rig_of(voters=5, **HEAVY)
    rig.elect(2, 1, 2)
    rig.run()
    assert rig[1].peer.serving and rig[2].peer.serving
    rig.propose(2)
    rig.run()
    assert rig[1].applied == rig[2].applied == [E1 + 1]
    rig.advance(2 * SYNC_MS)
    assert rig[2].peer.in_touch(3 * TICK_MS)
    assert rig[1].changes == rig[2].changes == [True]


def test_the_three_lighter_of_five_are_lost_without_being_missed(rig_of):
    rig = rig_of(voters=5, **HEAVY)
    rig.elect(5)
    rig.run()
    rig.down.update((2, 3, 4))  # stopped, not gone
    for _ in range(4 * SYNC_MS // TICK_MS):
        rig.advance(TICK_MS // 2)
        assert rig[5].peer.in_touch(3 * TICK_MS)
    rig.propose(5)
    rig.run()
    assert rig[1].applied == rig[5].applied == [E1 + 1]
    assert rig[1].changes == rig[5].changes == [True]


def test_a_leader_gives_way_when_those_who_leave_outweigh_the_rest(rig_of):
    rig = rig_of(voters=5, **HEAVY)
    rig.elect(5, 5)
    rig.run()
    for sid in (2, 3, 4):
        rig.vote(sid, to=5, state=LOOKING, number=2)
    assert rig[5].peer.leader is not None  # with 1 it can still be established
    rig.vote(1, to=5, state=LOOKING, number=2)
    assert rig[5].peer.why_looking == "a quorum looks for another leader"
