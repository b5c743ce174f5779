"""A server that has promised a later epoch than the one the others are in."""

import pytest

from recipes.core.jute.votes import LOOKING
from recipes.core.replication import Cell
from recipes.core.zab.peer import RecoveredState
from tests.core.zab.conftest import TICK_MS, boot_of


def join_late(rig, *sids):
    """These look for a leader, and follow server 3 or 5 again."""
    leader = 5 if 5 in rig.nodes else 3
    for sid in sids:
        rig.vote(sid, leader, LOOKING, 2)
        rig.elect(leader, sid)
        rig.run()


def states(rig):
    return {sid: (node.peer.role, node.peer.epoch) for sid, node in rig.nodes.items()}


@pytest.mark.parametrize(("voters", "observers", "late"), [(3, 0, 1), (3, 1, 4)])
def test_a_leader_gives_way_once_to_who_has_promised_a_later_epoch(rig_of, voters, observers, late):
    rig = rig_of(voters, observers, boots={late: RecoveredState(accepted_epoch=9)})
    others = [sid for sid in rig.nodes if sid != late]
    rig.elect(3, *others)
    rig.run()
    rig.propose(3)
    rig.run()
    rig.elect(3, late)
    rig.run()
    assert rig[3].peer.serving  # until it has shown that it is a member
    join_late(rig, late)
    assert not any(node.peer.serving for node in rig.nodes.values())
    assert rig[3].peer.why_looking == f"server {late} has promised epoch 9 and can only join a later one"
    # The epoch is above the promise even where the quorum does without the one who made it, who joins behind it.
    rig.elect(3, *others)
    rig.run()
    rig.elect(3, late)
    rig.run()
    rig.advance(2 * TICK_MS)
    assert {epoch for _, epoch in states(rig).values()} == {11}
    assert all(node.peer.serving for node in rig.nodes.values())
    assert rig[late].peer.applied_zxid == rig[3].peer.applied_zxid == (1 << 32) + 1
    for _ in range(3):  # nor does it end this leadership by coming again
        rig.cut(late, 3)
        rig.run()
        rig.elect(3, late)
        rig.run()
    assert rig[3].changes == [True, False, True]
    assert all(node.peer.serving for node in rig.nodes.values())


def test_two_promises_at_once_take_none_back(rig_of):
    rig = rig_of(5, boots={1: RecoveredState(accepted_epoch=9), 2: RecoveredState(accepted_epoch=6)})
    rig.elect(5, 3, 4, 5)
    rig.run()
    rig.elect(5, 1, 2)
    rig.run()
    rig[5].disk_stuck = True
    join_late(rig, 1, 2)
    assert rig[5].peer.serving  # until the promise is on its disk
    rig[5].disk_stuck = False
    rig.run()
    assert [int(done.value) for done in rig[5].done if isinstance(done, Cell)] == [1, 1, 10]
    assert rig[5].peer.accepted_epoch == 10
    rig.elect(5, 3, 4, 5)
    rig.run()
    assert rig[5].peer.epoch == 11


def test_a_promise_of_the_same_epoch_disturbs_nobody(rig_of):
    rig = rig_of(boots={1: RecoveredState(accepted_epoch=2), 3: boot_of(current=1)})
    rig.elect(3, 2, 3)
    rig.run()
    rig.elect(3, 1)
    rig.run()
    assert states(rig) == {1: ("follower", 2), 2: ("follower", 2), 3: ("leader", 2)}
    assert rig[3].changes == [True]
