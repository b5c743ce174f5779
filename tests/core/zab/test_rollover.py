"""An epoch whose zxids come to their end: the next one goes on, and nothing that was acknowledged is lost."""

from recipes.core.jute import quorum as q
from recipes.core.replication import Truncate
from tests.core.zab.conftest import TICK_MS, boot_of

E1, E2 = 1 << 32, 2 << 32
LAST = E1 + 0xFFFFFFFE  # the last one there is; E1 + 0xffffffff is nobody's


def two_left(rig_of, *sids):
    """Servers in epoch 1, led by 3, whose logs end two entries before the epoch does."""
    boot = boot_of(LAST - 3, LAST - 2)
    rig = rig_of(boots={1: boot, 2: boot, 3: boot})
    rig.elect(3, *sids)
    rig.run()
    broadcast = rig[3].peer.leader._broadcast
    broadcast.last_zxid = broadcast.committed_zxid = LAST - 2  # as if it had proposed all that itself
    return rig


def ends(rig):
    """The leader is given one entry more than the epoch has room for."""
    assert rig.propose(3) == [LAST + 1]
    assert rig[3].peer.why_looking == "the epoch has no zxids left"
    rig.run()


def test_the_next_epoch_goes_on_where_one_has_no_zxids_left(rig_of):
    rig = two_left(rig_of)
    assert rig.propose(3, 2) == [LAST - 1, LAST]
    rig.run()
    assert all(node.applied == [LAST - 1, LAST] for node in rig.nodes.values())
    ends(rig)
    assert all(node.peer.role == "looking" for node in rig.nodes.values())
    assert all(node.peer._election.looked[-1] == (1, LAST) for node in rig.nodes.values())
    rig.elect(2)
    rig.run()
    assert all(node.peer.serving and node.peer.epoch == 2 for node in rig.nodes.values())
    assert rig.propose(2, 2) == [E2 + 1, E2 + 2]
    rig.run()
    rig.advance(2 * TICK_MS)
    for node in rig.nodes.values():
        assert node.log[2:] == node.applied == [LAST - 1, LAST, E2 + 1, E2 + 2]
        assert node.changes == [True, False, True]


def test_a_server_that_missed_the_end_of_an_epoch_gets_it_with_the_next(rig_of):
    rig = two_left(rig_of)
    rig.cut(1, 3)
    rig.propose(3, 2)
    rig.run()
    assert rig[1].log[-1] == LAST - 2 and rig[3].applied == [LAST - 1, LAST]
    ends(rig)
    rig.elect(2, 2, 3)
    rig.run()
    rig.propose(2)
    rig.run()
    rig.elect(2, 1)
    rig.run()
    sent = [packet.type for to, packet in rig[2].sent if to == 1]
    assert sent[:2] == [q.LEADERINFO, q.DIFF]
    assert all(node.applied == [LAST - 1, LAST, E2 + 1] for node in rig.nodes.values())


def test_who_has_the_end_of_an_epoch_takes_it_to_the_others_though_its_leader_is_gone(rig_of):
    rig = two_left(rig_of)
    rig.cut(1, 3)
    rig.propose(3, 2)
    rig.run()
    ends(rig)
    rig.kill(3)
    rig.elect(2, 1, 2)
    rig.run()
    rig.propose(2)
    rig.run()
    assert rig[1].applied == rig[2].applied == [LAST - 1, LAST, E2 + 1]


def under_way(rig_of, *cut):
    """Two entries are on the leader's disk when the epoch ends, and nobody has committed them.

    cut: who has not even heard of them.
    """
    rig = two_left(rig_of)
    for sid in cut:
        rig.cut(sid, 3)
    rig[1].disk_stuck = True
    rig.propose(3, 2)
    rig.run()
    assert rig[3].log[-1] == LAST and rig[3].applied == []
    ends(rig)
    rig[1].disk_stuck = False
    rig.run()
    return rig


def test_what_was_under_way_at_the_end_of_an_epoch_goes_on_with_who_has_it(rig_of):
    rig = under_way(rig_of, 2)
    rig.elect(1)
    rig.run()
    rig.propose(1)
    rig.run()
    assert all(node.applied == [LAST - 1, LAST, E2 + 1] for node in rig.nodes.values())


def test_what_only_its_leader_had_at_the_end_of_an_epoch_is_taken_back(rig_of):
    rig = under_way(rig_of, 1, 2)
    rig.elect(2, 1, 2)
    rig.run()
    rig.propose(2)
    rig.run()
    rig.elect(2, 3)
    rig.run()
    assert Truncate(LAST - 2) in rig[3].done
    assert all(node.applied == [E2 + 1] for node in rig.nodes.values())
    assert all(node.peer.history.last_zxid == E2 + 1 for node in rig.nodes.values())
