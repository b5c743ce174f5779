"""What a learner holds when its leader takes it in, and what it is brought to: DIFF, TRUNC or SNAP."""

import pytest

from recipes.core.history import History
from recipes.core.jute import quorum as q
from recipes.core.replication import Cell, InstallSnapshot, Truncate
from recipes.core.zab.epochs import epoch_cell
from recipes.core.zab.peer import RecoveredState
from recipes.core.zab.synchronize import plan_sync
from recipes.core.zxid import skipped
from tests.core.zab.conftest import EMPTY_TREE, TICK_MS, boot_of, entry_of

E1, E2, E3 = 1 << 32, 2 << 32, 3 << 32


def types_sent(node, to):
    return [packet.type for other, packet in node.sent if other == to]


def hears(rig, *packets):
    """Server 1 follows server 3, which says what the test says; return its link."""
    rig.elect(3, 1)
    link = rig[1].peer.dialled(3)
    rig.by_hand(1, link)
    for packet in packets:
        link.receive(packet)
        rig.step()
    return link


def test_interop_5_a_fresh_learner_gets_every_txn_where_the_log_has_the_first_one_and_else_the_tree():
    """Both are right; a DIFF needs no dump. Apache's leader sends a SNAP in either case."""
    entries = [entry_of(zxid) for zxid in (E1 + 1, E1 + 2)]
    assert plan_sync(History(0, entries), E1 + 2, 0, cautious=False) == (q.DIFF, 0)
    assert plan_sync(History(E1 + 1, entries[1:]), E1 + 2, 0, cautious=False) == (q.SNAP, E1 + 2)


@pytest.mark.parametrize(
    ("mine", "expected", "log"),
    [
        ((E1 + 1, E1 + 2), [q.DIFF], [E1 + 1, E1 + 2, E1 + 3]),
        ((E1 + 1, E1 + 2, E1 + 3), [q.DIFF], [E1 + 1, E1 + 2, E1 + 3]),
        ((E1 + 1, E1 + 2, E1 + 3, E1 + 4), [q.TRUNC], None),
    ],
)
def test_what_a_follower_lacks_is_sent_and_what_it_has_too_much_taken_back(rig_of, mine, expected, log):
    leader = boot_of(E1 + 1, E1 + 2, E1 + 3, current=2)
    rig = rig_of(boots={1: boot_of(*mine, current=1), 3: leader})
    rig.elect(3, 1, 3)
    rig.run()
    sync = [kind for kind in types_sent(rig[3], 1) if kind in (q.DIFF, q.TRUNC, q.SNAP)]
    assert sync == expected
    assert {q.DIFF: "a DIFF", q.TRUNC: "a TRUNC"}[sync[0]] in rig[3].notes[0]
    assert rig[1].peer.history.last_zxid == E1 + 3
    assert rig[1].peer.serving
    if log is None:
        assert Truncate(E1 + 3) in rig[1].done
    else:
        assert rig[1].log == log


@pytest.mark.parametrize(
    ("learner_zxid", "cautious", "expected"),
    [
        (E2 + 1, False, (q.TRUNC, E1 + 2)),  # epoch 2 proposed that, and nothing of it is committed
        (E2 + 1, True, (q.SNAP, E1 + 2)),
        (E2, False, (q.SNAP, E1 + 2)),  # no log has that
        (E1 + 3, False, (q.TRUNC, E1 + 2)),
        (E1 + 1, False, (q.DIFF, E1 + 1)),
    ],
)
def test_a_snapshot_would_not_take_back_what_is_in_apaches_log(learner_zxid, cautious, expected):
    history = History(E1, [entry_of(E1 + 1), entry_of(E1 + 2)])
    assert plan_sync(history, E1 + 2, learner_zxid, cautious=cautious, keeps_log=True) == expected


def test_what_apache_proposes_that_its_snapshot_has_is_passed_over(rig_of):
    rig = rig_of()
    link = hears(
        rig,
        q.encode_packet(q.LEADERINFO, E2, q.encode_leader_info(ours=False)),
        q.encode_packet(q.SNAP, E1 + 5) + EMPTY_TREE + b"\0\0\0\nBenWasHere",
        q.encode_packet(q.PROPOSAL, E1 + 4, entry_of(E1 + 4).payload),
        q.encode_packet(q.COMMIT, E1 + 4),
        q.encode_packet(q.PROPOSAL, E1 + 6, entry_of(E1 + 6).payload),
        q.encode_packet(q.NEWLEADER, E2),
        q.encode_packet(q.COMMIT, E1 + 5),
        q.encode_packet(q.UPTODATE, -1),
    )
    peer = rig[1].peer
    assert not link.wants_close
    assert (peer.serving, rig[1].log, peer.committed_zxid) == (True, [E1 + 6], E1 + 5)


@pytest.mark.parametrize("ours", [False, True])
def test_a_zxid_that_an_apache_leader_never_used_keeps_nobody_from_following(rig_of, ours):
    rig = rig_of()
    link = hears(
        rig,
        q.encode_packet(q.LEADERINFO, E1, q.encode_leader_info(ours=ours)),
        q.encode_packet(q.DIFF, 0),
        q.encode_packet(q.NEWLEADER, E1),
        q.encode_packet(q.UPTODATE, -1),
        q.encode_packet(q.PROPOSAL, E1 + 2, entry_of(E1 + 2).payload),
        q.encode_packet(q.COMMIT, E1 + 2),
    )
    assert link.wants_close == ours
    assert rig[1].applied == ([] if ours else [E1 + 1, E1 + 2])


def test_only_a_few_zxids_ahead_can_have_been_skipped():
    assert list(skipped(E1 + 1, E1 + 4)) == [E1 + 2, E1 + 3]
    assert list(skipped(E1 + 9, E2 + 2)) == [E2 + 1]
    for before, zxid in ((E1 + 1, E1 + 2), (E1 + 1, E1 + 19), (E2 + 3, E1 + 5), (E1 + 5, E1 + 3), (E1 + 1, E2)):
        assert not skipped(before, zxid)


def test_a_tree_that_takes_long_to_send_is_sent_to_its_end(rig_of):
    rig = rig_of(boots={3: boot_of(E2 + 1, current=2)})
    rig.elect(3, 2, 3)
    rig.run()
    leader = rig[3].peer
    link = leader.accept()
    link.receive(q.encode_packet(q.FOLLOWERINFO, 0, q.encode_learner_info(1)))
    link.receive(q.encode_packet(q.ACKEPOCH, 0, q.encode_epoch(0)))
    slices = iter([b"slice"] * 40)
    leader.leader._synchronizer.dumped(leader.leader._learners[link.key], E2 + 1, slices)
    dump = next(part for part in link.out if not isinstance(part, bytes))
    link.out.clear()
    rig.by_hand(3, link)
    for _ in dump:
        rig.advance(TICK_MS)
        link.out.clear()
    assert not link.wants_close
    rig.advance(16 * TICK_MS)
    assert link.wants_close


def test_a_history_the_leader_does_not_know_is_replaced_whole(rig_of):
    rig = rig_of(boots={1: boot_of(E1 + 7, current=1), 3: boot_of(E2 + 1, current=2)})
    rig.elect(3, 1, 3)
    rig.run()
    assert [type(done) for done in rig[1].done] == [Cell, InstallSnapshot, Cell]
    assert rig[1].peer.history.last_zxid == E2 + 1
    assert rig[1].peer.serving


def test_a_snapshot_has_the_history_of_which_nobody_knows_yet_that_it_is_committed(rig_of):
    boot = boot_of(E2 + 1, current=2)
    rig = rig_of(boots={1: boot_of(E1 + 7, current=1), 2: boot, 3: boot})
    rig.elect(3, 2, 3)
    rig.run()
    rig.propose(3)
    while rig[2].log[-1] != E3 + 1:
        rig.step()
    rig.kill(3)  # it may have committed that, 2 has not heard of it
    rig.run()
    assert rig[2].applied == []
    rig.elect(2, 1, 2)
    rig.run()
    snap = next(done for done in rig[1].done if isinstance(done, InstallSnapshot))
    assert snap.zxid == E3 + 1
    assert types_sent(rig[2], 1) == [q.LEADERINFO, q.SNAP, q.NEWLEADER, q.UPTODATE]
    assert rig[2].applied == [E3 + 1] and rig[2].changes == [True, False, True]


def test_a_leader_applies_its_own_history_when_a_quorum_has_accepted_its_epoch(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    rig[1].disk_stuck = True
    rig.propose(3)
    while not rig[2].log:
        rig.step()
    rig.kill(3)
    rig.run()
    rig.elect(2, 2)
    rig.run()
    assert rig[2].applied == []  # alone it is nobody's leader yet
    rig[1].disk_stuck = False
    rig.run()
    rig.elect(2, 1)
    while not rig[2].applied:
        assert q.NEWLEADER not in types_sent(rig[2], 1)
        rig.step()
    assert rig[2].applied == [E1 + 1]
    assert rig[2].done[-1] == epoch_cell("currentEpoch", 2) and not rig[2].peer.serving


def test_p28_the_synced_history_is_on_disk_before_the_epoch_and_the_ack(rig_of):
    rig = rig_of(boots={3: boot_of(E1 + 1, E1 + 2, current=1)})
    rig.elect(3, 1, 3)
    for _ in range(40):
        rig.step()
        if rig[1].log:
            assert rig[1].log[:2] == [E1 + 1, E1 + 2][: len(rig[1].log)]
        if q.ACK in types_sent(rig[1], 3):
            assert rig[1].log == [E1 + 1, E1 + 2]
            assert rig[1].done[-1] == epoch_cell("currentEpoch", 2)
    assert rig[1].peer.serving
    assert rig[1].applied == [E1 + 1, E1 + 2]


def test_a_follower_with_a_later_history_is_not_led(rig_of):
    rig = rig_of(boots={1: boot_of(E1 + 9, current=1), 3: boot_of(E1 + 8, current=1)})
    rig.elect(3, 1, 3)
    rig.run()
    assert not rig[3].peer.serving
    assert rig[1].peer.role == "looking"


def test_a_late_follower_gets_what_is_outstanding_and_its_commit_behind_uptodate(rig_of):
    rig = rig_of()
    rig.elect(3, 2, 3)
    rig.run()
    rig[2].disk_stuck = True
    rig.propose(3)
    rig.elect(3, 1)
    rig.run()
    sent = types_sent(rig[3], 1)
    assert sent == [q.LEADERINFO, q.DIFF, q.PROPOSAL, q.NEWLEADER, q.UPTODATE, q.COMMIT]
    assert rig[1].applied == rig[3].applied == [E1 + 1]


def test_a_server_without_a_usable_history_takes_only_a_snapshot(rig_of):
    rig = rig_of(boots={1: RecoveredState(1, 1, unsure=True), 3: boot_of(E1 + 1, current=1)})
    assert rig[1].peer._election.looked == [(1, -1)]
    rig.elect(3)
    rig.run()
    assert [type(done) for done in rig[1].done] == [Cell, InstallSnapshot, Cell]
    assert rig[1].peer.serving


def test_a_truncation_that_fails_leaves_the_server_without_a_vote(rig_of):
    rig = rig_of(boots={1: boot_of(E1 + 1, E1 + 2, current=1), 3: boot_of(E1 + 1, current=2)})
    node = rig[1]
    node.cannot_truncate = True
    rig.elect(3, 1, 3)
    rig.run()
    assert node.peer._election.looked[-1] == (1, -1)
    assert node.log == [E1 + 1, E1 + 2]
    rig.elect(3, 1)
    rig.run()
    assert node.peer.serving
