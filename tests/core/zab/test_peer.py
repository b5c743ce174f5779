"""The phases after an election, at leader, follower and observer."""

import pytest

from recipes.core.jute import quorum as q
from recipes.core.jute.votes import FOLLOWING, LEADING, LOOKING, Notification
from recipes.core.link import MOST_STRANGERS
from recipes.core.replication import Entry, Synced
from recipes.core.zab.epochs import epoch_cell
from tests.core.zab.conftest import TICK_MS, boot_of, entry_of

E1, E2, E3 = 1 << 32, 2 << 32, 3 << 32


def types_sent(node, to):
    return [packet.type for other, packet in node.sent if other == to]


def test_three_fresh_servers_serve_in_epoch_1(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    assert [rig[sid].peer.role for sid in (1, 2, 3)] == ["follower", "follower", "leader"]
    assert all(rig[sid].peer.serving and rig[sid].peer.epoch == 1 for sid in (1, 2, 3))
    assert types_sent(rig[3], 1) == [q.LEADERINFO, q.DIFF, q.NEWLEADER, q.UPTODATE]
    assert types_sent(rig[1], 3) == [q.FOLLOWERINFO, q.ACKEPOCH, q.ACK, q.ACK]
    assert rig[1].done == [epoch_cell("acceptedEpoch", 1), epoch_cell("currentEpoch", 1)]


def test_an_entry_is_applied_everywhere_once_a_quorum_has_it(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    rig[1].disk_stuck = True
    assert rig.propose(3, 2) == [E1 + 1, E1 + 2]
    rig.run()
    assert rig[3].applied == rig[2].applied == [E1 + 1, E1 + 2]
    assert rig[1].applied == []  # committed, and yet not on its own disk
    rig[1].disk_stuck = False
    rig.run()
    assert rig[1].applied == [E1 + 1, E1 + 2]


def test_nothing_is_committed_without_a_quorum_of_disks(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    rig[1].disk_stuck = rig[2].disk_stuck = True
    rig.propose(3)
    rig.run()
    assert rig[3].applied == []
    rig[3].disk_stuck, rig[1].disk_stuck = True, False
    rig.propose(3)
    rig.run()
    assert rig[3].applied == [E1 + 1]  # the first on 1 and 3; the second on 1 alone
    rig[2].disk_stuck = False
    rig.run()
    assert rig[2].applied == rig[1].applied == [E1 + 1, E1 + 2]
    assert rig[3].applied == [E1 + 1]
    rig[3].disk_stuck = False
    rig.run()
    assert rig[3].applied == [E1 + 1, E1 + 2]


def test_an_observer_is_told_what_is_committed_and_never_counts(rig_of):
    rig = rig_of(voters=3, observers=1)
    rig.elect(3)
    rig.run()
    assert rig[4].peer.role == "observer"
    rig[1].disk_stuck = rig[2].disk_stuck = True
    rig.propose(3)
    rig.run()
    assert rig[4].applied == []
    rig[1].disk_stuck = False
    rig.run()
    assert rig[4].applied == [E1 + 1]
    assert types_sent(rig[3], 4)[-1] == q.INFORM
    assert q.ACK not in types_sent(rig[4], 3)[4:]


def test_a_promised_epoch_is_not_promised_twice(rig_of):
    rig = rig_of(boots={1: boot_of(current=0, accepted=5), 2: boot_of(current=0, accepted=5)})
    rig.elect(3)
    rig.run()
    assert rig[3].peer.epoch == 6
    rig = rig_of(boots={1: boot_of(current=0, accepted=9)})
    rig.elect(3, 2, 3)
    rig.run()
    assert rig[3].peer.epoch == 1
    rig.elect(3, 1)
    rig.run()
    assert rig[1].peer.role == "looking"
    assert "promised" in rig[1].peer.why_looking


def test_a_leader_that_loses_its_quorum_stops_and_looks(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    rig.kill(1)
    rig.advance(2 * TICK_MS)
    assert rig[3].peer.serving
    rig.kill(2)
    rig.advance(2 * TICK_MS)
    assert rig[3].changes == [True, False]
    assert rig[3].peer.role == "looking"


def test_an_idle_ensemble_stays_as_it_is(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    rig.advance(20 * TICK_MS)
    assert all(rig[sid].changes == [True] for sid in (1, 2, 3))


def test_a_follower_that_acknowledges_nothing_is_dropped_though_it_answers_pings(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    rig[1].disk_stuck = True
    rig.propose(3)
    rig.run()
    rig.advance(4 * TICK_MS)
    assert rig[1].peer.serving
    rig.advance(3 * TICK_MS)
    assert not rig[1].peer.serving
    assert rig[3].peer.serving


def test_who_is_elected_while_others_follow_another_gives_way(rig_of):
    rig = rig_of()
    rig.elect(2, 1, 2)
    rig.elect(3, 3)
    rig.run()
    assert rig[3].peer.listening
    for sid, state in ((1, FOLLOWING), (2, LEADING)):
        rig[3].peer.notified(sid, Notification(state, 2, 0, 1, 0, b""))
    assert not rig[3].peer.listening
    assert rig[3].peer.role == "looking"
    for sid, state in ((1, FOLLOWING), (3, LEADING)):
        rig[2].peer.notified(sid, Notification(state, 3, 0, 1, 0, b""))
    assert rig[2].peer.serving  # it has a quorum, whatever they say


def test_a_leader_gives_way_to_an_election_it_would_be_missed_in(rig_of):
    rig = rig_of()
    rig.elect(3, 3)
    rig.run()
    leader = rig[3].peer
    rig.vote(1, to=3, state=LOOKING, number=1)  # on its way since before the decision
    rig.vote(2, to=3, state=LOOKING, number=2)
    assert leader.leader is not None  # with 1 it can still be established
    rig.vote(2, to=3, state=FOLLOWING, number=2)
    rig.vote(1, to=3, state=LOOKING, number=2)
    assert leader.leader is not None
    rig.vote(2, to=3, state=LOOKING, number=3)
    assert leader.leader is None and leader.why_looking == "a quorum looks for another leader"


def test_a_leader_gives_way_to_those_who_have_not_heard_of_it_in_a_tick(rig_of):
    rig = rig_of()
    rig.elect(3, 3)
    for sid in (1, 2):
        rig.vote(sid, to=3, state=LOOKING, number=1)
    assert rig[3].peer.leader is not None
    rig.advance(TICK_MS)
    rig.vote(1, to=3, state=LOOKING, number=1)
    assert rig[3].peer.leader is not None
    rig.vote(2, to=3, state=LOOKING, number=1)
    assert rig[3].peer.leader is None


def test_an_established_leader_is_not_moved_by_votes(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    for sid in (1, 2):
        rig.vote(sid, to=3, state=LOOKING, number=2)
    assert rig[3].peer.role == "leader" and rig[3].peer.serving


def test_a_link_that_is_gone_before_a_word_came_is_dialled_again(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig[1].take()
    assert rig[1].peer.take_outbox().dial == 3
    link = rig[1].peer.dialled(3)
    link.lost()
    assert rig[1].peer.learner is not None and rig[1].peer.take_outbox().dial is None
    rig.advance(TICK_MS)
    assert [node.peer.role for node in rig.nodes.values()] == ["follower", "follower", "leader"]
    rig.cut(1, 3)  # this one had spoken
    assert rig[1].peer.learner is None


def test_a_follower_whose_leader_falls_silent_looks_again(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    rig.down.add(3)  # stopped, not gone: its sockets stay open
    rig.advance(4 * TICK_MS)
    assert rig[1].peer.serving
    rig.advance(3 * TICK_MS)
    assert rig[1].peer.role == "looking"


@pytest.mark.parametrize("ticks", [2, 3, 10])
def test_a_server_cut_off_tells_no_session_that_it_lives_once_it_may_have_ended(rig_of, ticks):
    rig = rig_of(observers=1)
    rig.elect(3)
    rig.run()
    timeout_ms = ticks * TICK_MS
    for _ in range(12):
        rig.advance(TICK_MS // 4)
        assert all(node.peer.in_touch(timeout_ms) for node in rig.nodes.values())
    for one, other in ((1, 4), (4, 1)):
        peer = rig[one].peer
        rig.down.update((3, other))  # they stand still, so that nothing comes from them
        heard_ms = peer.learner.quorum_heard_ms()
        # Its last answer may be lost, and before the one that was not the client may have been silent for a third.
        ends_ms = heard_ms - TICK_MS // 2 - timeout_ms // 3 + timeout_ms
        answers = []
        for peer.now_ms in range(rig.now_ms, heard_ms + timeout_ms):
            if peer.in_touch(timeout_ms):
                answers.append(peer.now_ms)
        assert heard_ms + TICK_MS // 2 < answers[-1] < ends_ms
        rig.down.clear()


def test_the_vote_waits_for_the_disk(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    rig[1].disk_stuck = True
    rig.propose(3)
    rig.run()
    rig.cut(1, 3)
    rig.run()
    looked = rig[1].peer._election.looked
    assert looked == [(0, 0)]
    rig[1].disk_stuck = False
    rig.run()
    assert looked == [(0, 0), (1, E1 + 1)]


def test_a_leader_that_committed_and_died_before_any_commit_left(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    zxid = rig.propose(3)[0]
    rig[3].take()
    for link in rig[3].peer.take_outbox().touched:
        if rig.pairs[3, link.key][0] == 2:
            rig._deliver(3, link)
    rig.down.add(1)
    rig[2].flush()
    rig.kill(3)
    rig.down.discard(1)
    rig.run()
    rig.cut(1, 3)
    rig.elect(2, 1, 2)
    rig.run()
    assert rig[1].applied == rig[2].applied == [zxid]
    assert rig[2].peer.epoch == 2


def test_a_sync_is_answered_after_a_quorum_still_follows(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    rig[3].peer.begin_turn(rig.now_ms)
    rig[3].peer.sync("mine", 1, 1, b"", ())
    rig[3].take()
    assert rig[3].applied == []
    rig.run()
    assert rig[3].applied == [Synced("mine")]
    rig[1].peer.sync("theirs", 1, 1, b"\0\0\0\1/", ())
    rig[1].take()
    rig.run()
    for event in rig[3].events:
        if getattr(event, "kind", None) == 9:
            rig[3].peer.leader.sync_learner(event.link)
    rig.run()
    assert rig[1].applied == [Synced("theirs")]


def test_the_epoch_ends_before_its_zxids_do(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    leader = rig[3].peer.leader
    leader._broadcast.last_zxid = rig[3].peer.history.last_zxid = E1 + 0xFFFFFFFE
    leader.propose(entry_of(E1 + 0xFFFFFFFF))
    assert rig[3].peer.role == "looking"
    assert not any(isinstance(write, Entry) for write in rig[3].waiting)


def test_strangers_and_nonsense_are_hung_up_on_alone(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    for data in (
        b"\xff" * 40,
        q.encode_packet(q.FOLLOWERINFO, 0, q.encode_learner_info(9)),
        q.encode_packet(q.FOLLOWERINFO, 0, q.encode_learner_info(3)),
        q.encode_packet(q.ACK, E1),
        q.encode_packet(q.FOLLOWERINFO, 0, b""),
        q.encode_packet(q.FOLLOWERINFO, 0x7FFFFFFF << 32, q.encode_learner_info(1)),
        q.encode_packet(q.FOLLOWERINFO, 1 << 62 | 1 << 32, q.encode_learner_info(1)),  # an epoch far ahead
        q.encode_packet(q.FOLLOWERINFO, -1 << 32, q.encode_learner_info(1)),
        q.encode_packet(q.SNAP, 1),  # a tree of any size would follow
    ):
        link = rig[3].peer.accept()
        link.receive(data)
        assert rig[3].peer.take_outbox().touched[-1:] == [link]
        assert link.wants_close
        link.lost()
    assert rig[3].peer.serving
    rig.advance(TICK_MS)
    assert all(rig[sid].peer.serving for sid in (1, 2, 3))


def test_f5_strangers_are_few_and_have_to_say_who_they_are_in_time(rig_of):
    rig = rig_of()
    rig.elect(3, 1, 3)
    rig.run()
    links = [rig[3].peer.accept() for _ in range(MOST_STRANGERS + 1)]
    for link in links:
        rig.by_hand(3, link)
    assert links.pop(0).wants_close and not any(link.wants_close for link in links)  # the oldest gives way
    for _ in range(6):
        for link in links:
            link.receive(b"\0")  # a part of a packet, without end
        rig.advance(TICK_MS)
    assert all(link.wants_close for link in links)
    rig.elect(3, 2)
    rig.run()
    assert all(rig[sid].peer.serving for sid in (1, 2, 3))


def test_an_epoch_that_would_keep_a_server_out_for_ever_is_not_promised(rig_of):
    rig = rig_of()
    rig.elect(3, 1)
    link = rig[1].peer.dialled(3)
    link.receive(q.encode_packet(q.LEADERINFO, 0x7FFFFFFF << 32, q.encode_leader_info()))
    assert rig[1].peer.role == "looking"
    assert (rig[1].peer.accepted_epoch, rig[1].done) == (0, [])


def test_who_has_joined_waits_for_a_slow_one_as_long_as_that_may_take(rig_of):
    rig = rig_of(voters=5)
    rig.elect(5, 1, 2, 5)
    while q.NEWLEADER not in types_sent(rig[5], 2):
        rig.step()
    rig[2].disk_stuck = True  # for less than initLimit, and more than syncLimit
    rig.advance(8 * TICK_MS)
    rig[2].disk_stuck = False
    rig.advance(TICK_MS)
    assert [rig[sid].changes for sid in (1, 2, 5)] == [[True], [True], [True]]


def test_a_leader_whose_own_disk_stands_still_gives_way(rig_of):
    rig = rig_of()
    rig.elect(3)
    rig.run()
    rig[3].disk_stuck = True
    rig.propose(3)
    rig.run()
    rig.advance(4 * TICK_MS)
    assert rig[3].peer.serving
    assert rig[1].applied == [E1 + 1]
    rig.advance(3 * TICK_MS)
    assert not rig[3].peer.serving
    assert "disk" in rig[3].peer.why_looking
