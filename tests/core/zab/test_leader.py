"""Leaderships that come to nothing: nobody joins, or who has joined is gone before a quorum has."""

import pytest

from recipes.core.jute import quorum as q
from recipes.core.zab.epochs import epoch_cell
from tests.core.zab.conftest import TICK_MS

E1 = 1 << 32
INIT_MS = 10 * TICK_MS

# What 1 is sent last, and what it still answers.
DEATHS = {
    "before ACKEPOCH": (q.LEADERINFO, None),
    "behind ACKEPOCH": (q.LEADERINFO, q.ACKEPOCH),
    "before its ACK": (q.NEWLEADER, None),
    "behind its ACK": (q.NEWLEADER, q.ACK),
}


def types_sent(node, to):
    return [packet.type for other, packet in node.sent if other == to]


def test_a_leader_whom_nobody_joins_looks_again_after_init_limit(rig_of):
    rig = rig_of()
    rig.elect(3, 3)
    rig.run()
    rig.advance(INIT_MS - TICK_MS)
    assert rig[3].peer.leader is not None
    rig.advance(2 * TICK_MS)  # it looks at the time twice a tick
    assert rig[3].peer.role == "looking"
    assert rig[3].peer.why_looking == "no quorum has joined in time"
    assert rig[3].done == [] and rig[3].changes == []  # it has not even promised itself an epoch


def test_a_promise_counts_only_as_long_as_who_made_it_is_there(rig_of):
    rig = rig_of(voters=5)
    rig.elect(5, 1, 5)
    rig.run()
    rig.kill(1)
    rig.elect(5, 2)
    rig.run()
    assert rig[5].done == [] and rig[5].sent == []  # with 1 it would have been a quorum
    rig.elect(5, 3)
    rig.run()
    assert [rig[sid].changes for sid in (2, 3, 5)] == [[True]] * 3


def one_of_three_that_died(rig_of, death):
    """Five servers: 1 and 2 join 5, but 1 dies on its way, and only then 2 goes on."""
    asked, answered = DEATHS[death]
    rig = rig_of(voters=5)
    rig.elect(5, 1, 2, 5)
    rig.until_sent(5, 1, asked)
    rig[2].disk_stuck = True
    if answered is not None:
        rig.until_sent(1, 5, answered)
    rig.kill(1)
    rig[2].disk_stuck = False
    rig.run()
    assert (q.ACK in types_sent(rig[2], 5)) == (asked == q.NEWLEADER)
    return rig


@pytest.mark.parametrize("death", DEATHS)
def test_a_follower_that_dies_while_it_joins_does_not_count(rig_of, death):
    rig = one_of_three_that_died(rig_of, death)
    asked, _ = DEATHS[death]
    epochs = [epoch_cell("acceptedEpoch", 1), epoch_cell("currentEpoch", 1)]
    assert rig[5].done == epochs[: 1 if asked == q.LEADERINFO else 2]
    rig.advance(INIT_MS - TICK_MS)
    assert rig[5].peer.leader is not None and rig[2].peer.learner is not None
    rig.advance(2 * TICK_MS)
    assert rig[5].peer.why_looking == "no quorum has joined in time"
    assert [rig[sid].peer.role for sid in (2, 5)] == ["looking", "looking"]
    assert [rig[sid].changes for sid in (2, 5)] == [[], []]


@pytest.mark.parametrize("death", DEATHS)
def test_another_may_come_in_place_of_a_follower_that_died_while_it_joined(rig_of, death):
    rig = one_of_three_that_died(rig_of, death)
    rig.advance(INIT_MS // 2)
    rig.elect(5, 3)
    rig.run()
    assert [rig[sid].changes for sid in (2, 3, 5)] == [[True]] * 3
    rig.propose(5)
    rig.run()
    assert [rig[sid].applied for sid in (2, 3, 5)] == [[E1 + 1]] * 3
