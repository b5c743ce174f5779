"""Fast leader election, one server at a time: what it hears, what it says, what it decides."""

import pytest

from recipes.core.errors import InvariantBroken
from recipes.core.jute.votes import FOLLOWING, LEADING, LOOKING, MIN_ZXID, OBSERVING, Notification, encode_notification
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.zab.election import IDLE, LONGEST_RESEND_MS, Election, Vote

CONFIG = b""


def ensemble(voters: int = 3, observers: int = 0, **groups) -> Membership:
    sids = range(1, voters + observers + 1)
    return Membership([QuorumServer(sid, "h", 1, 2, observer=sid > voters) for sid in sids], **groups)


def looking(sid: int = 1, zxid: int = 5, epoch: int = 1, membership: Membership | None = None) -> Election:
    """A server that has started its first round at time 0, its first notifications taken."""
    election = Election(sid, membership or ensemble())
    election.look(zxid, epoch, 0)
    election.take_votes()
    return election


def vote(leader: int, zxid: int = 5, number: int = 1, epoch: int = 1, state: int = LOOKING) -> Notification:
    return Notification(state, leader, zxid, number, epoch, CONFIG)


def said(election: Election) -> list[tuple[int, int, Vote]]:
    return [(to, note.state, Vote(*note[1:5])) for to, note in election.take_votes()]


def test_it_says_nothing_before_it_looks():
    election = Election(1, ensemble())
    election.receive(2, vote(2), 0)
    election.tick(10_000)
    assert (election.state, election.deadline_ms, election.take_votes()) == (IDLE, None, [])


def test_it_first_votes_for_itself_by_what_is_in_its_log():
    election = Election(1, ensemble(3, 1))
    election.look(7, 2, 0)
    assert said(election) == [(sid, LOOKING, Vote(1, 7, 1, 2)) for sid in (2, 3)]
    assert (election.state, election.vote, election.deadline_ms) == (LOOKING, None, 200)


def test_what_it_says_carries_the_membership():
    membership = ensemble()
    election = Election(1, membership)
    election.look(7, 2, 0)
    assert {note.config for _, note in election.take_votes()} == {membership.config_text()}


@pytest.mark.parametrize(
    "better",
    [vote(1, zxid=0, epoch=2), vote(1, zxid=6), vote(3, zxid=5)],
    ids=["epoch", "zxid", "sid"],
)
def test_the_higher_epoch_then_zxid_then_sid_wins(better):
    election = looking(2)
    election.receive(better.leader, better, 10)
    assert said(election) == [(sid, LOOKING, Vote(*better[1:5])) for sid in (1, 3)]


@pytest.mark.parametrize("worse", [vote(3, zxid=9, epoch=0), vote(3, zxid=4), vote(1)], ids=["epoch", "zxid", "sid"])
def test_a_worse_vote_is_answered_not_adopted(worse):
    election = looking(2)
    election.receive(worse.leader, worse, 10)
    assert said(election) == [(worse.leader, LOOKING, Vote(2, 5, 1, 1))]


def test_a_worse_vote_is_only_filed_if_votes_are_silent():
    election = looking(2)
    election.answers_worse = False
    election.receive(3, vote(3, zxid=4), 10)
    assert said(election) == []
    election.receive(1, vote(2), 11)  # it counts as heard all the same
    assert election.state == LEADING


def test_all_heard_decides_at_once():
    election = looking(3)
    election.receive(1, vote(3), 10)
    assert election.state == LOOKING
    election.receive(2, vote(2), 11)
    assert (election.state, election.vote, election.deadline_ms) == (LEADING, Vote(3, 5, 1, 1), None)
    # Whoever waits, and observers, hear of it.
    assert said(election)[-2:] == [(1, LEADING, Vote(3, 5, 1, 1)), (2, LEADING, Vote(3, 5, 1, 1))]


def test_a_quorum_waits_for_better_votes_while_somebody_is_missing():
    election = looking(2)
    election.receive(1, vote(2), 10)
    assert (election.state, election.deadline_ms) == (LOOKING, 200)
    election.tick(209)
    assert (election.state, election.deadline_ms) == (LOOKING, 210)
    election.tick(210)
    assert (election.state, election.vote) == (LEADING, Vote(2, 5, 1, 1))


def test_the_better_vote_that_comes_in_time_wins():
    election = looking(2)
    election.receive(1, vote(2), 10)
    election.receive(3, vote(3), 100)  # adopted; only 2 and 3 agree, but everybody has been heard
    assert (election.state, election.vote) == (FOLLOWING, Vote(3, 5, 1, 1))


def test_a_better_vote_starts_the_wait_anew():
    election = looking(2, membership=ensemble(5))
    for sid in (1, 3):
        election.receive(sid, vote(2), 10)
    election.receive(4, vote(4), 190)
    election.tick(210)
    assert election.state == LOOKING  # two of five now
    election.receive(1, vote(4), 250)
    election.tick(449)
    assert election.state == LOOKING
    election.tick(450)
    assert election.vote == Vote(4, 5, 1, 1)


def test_a_better_vote_starts_the_wait_anew_though_a_quorum_is_there_at_once():
    membership = ensemble(4, groups={1: (1, 2, 3, 4)}, weights={2: 3, 3: 2})
    election = looking(2, membership=membership)
    election.receive(1, vote(2), 10)
    election.receive(3, vote(3), 100)
    election.tick(210)
    assert (election.state, election.deadline_ms) == (LOOKING, 300)
    election.tick(300)
    assert election.vote == Vote(3, 5, 1, 1)


def test_votes_of_another_zxid_epoch_or_round_are_not_counted():
    election = looking(2)
    for other in (vote(2, zxid=4), vote(2, epoch=0), vote(2, number=0)):
        election.receive(1, other, 10)
        election.receive(3, other, 10)
        election.tick(10_000)
        assert election.state == LOOKING


def test_nobody_waits_long_for_a_server_that_cannot_be_reached():
    election = looking(2)
    election.unreachable(3, True)
    election.receive(1, vote(2), 10)
    assert (election.state, election.deadline_ms) == (LOOKING, 30)
    election.unreachable(3, False)
    assert election.deadline_ms == 200
    election.unreachable(3, True)
    election.tick(30)
    assert election.state == LEADING


def test_an_unreachable_server_does_not_make_a_quorum():
    election = looking(2)
    for sid in (1, 3):
        election.unreachable(sid, True)
    election.tick(10_000)
    assert election.state == LOOKING


def test_votes_are_repeated_less_and_less_often():
    election, times = looking(1), []
    while len(times) < 7:
        now_ms = election.deadline_ms
        assert now_ms is not None
        election.tick(now_ms)
        times.append(now_ms)
        assert said(election) == [(sid, LOOKING, Vote(1, 5, 1, 1)) for sid in (2, 3)]
    assert times[:4] == [200, 600, 1400, 3000]
    assert times[6] - times[5] == LONGEST_RESEND_MS


def test_a_higher_round_is_joined_with_the_better_of_its_vote_and_our_first():
    election = looking(2, zxid=5)
    election.receive(3, vote(3, zxid=9), 10)  # adopted in this round, forgotten in the next
    election.receive(1, vote(1, zxid=4, number=7), 20)
    assert said(election)[-2:] == [(1, LOOKING, Vote(2, 5, 7, 1)), (3, LOOKING, Vote(2, 5, 7, 1))]
    election.receive(1, vote(2, zxid=5, number=7), 30)
    election.tick(229)
    assert election.state == LOOKING
    election.tick(230)
    assert election.vote == Vote(2, 5, 7, 1)


def test_a_lower_round_is_told_ours_and_does_not_count():
    election = looking(2)
    election.receive(1, vote(1, number=7), 10)
    election.take_votes()
    election.receive(3, vote(3, zxid=99), 20)
    assert said(election) == [(3, LOOKING, Vote(2, 5, 7, 1))]
    assert election.state == LOOKING


def test_every_look_is_a_new_round():
    election = looking(1)
    election.look(5, 1, 1000)
    assert said(election)[0] == (2, LOOKING, Vote(1, 5, 2, 1))


def test_a_late_joiner_follows_the_established_leader_though_its_log_is_longer():
    election = looking(3, zxid=99, epoch=4)
    election.receive(1, vote(2, zxid=7, number=4, epoch=5, state=FOLLOWING), 10)
    assert election.state == LOOKING
    election.receive(2, vote(2, zxid=7, number=4, epoch=5, state=LEADING), 11)
    assert (election.state, election.vote) == (FOLLOWING, Vote(2, 7, 4, 5))


def test_a_joiner_takes_over_the_round():
    election = looking(3)
    election.receive(1, vote(2, number=4, state=FOLLOWING), 10)
    election.receive(2, vote(2, number=4, state=LEADING), 11)
    election.look(5, 1, 20)
    assert said(election)[-1] == (2, LOOKING, Vote(3, 5, 5, 1))


def test_what_was_said_in_one_round_does_not_count_in_the_next():
    election = looking(1, membership=ensemble(5))
    for sid in (2, 3):
        election.receive(sid, vote(5, epoch=1, state=FOLLOWING), 10)
    election.receive(4, vote(4, number=7), 11)
    election.receive(5, vote(5, number=7, epoch=2, state=LEADING), 12)
    assert election.state == LOOKING


def test_who_observes_says_nothing_of_a_leader():
    election = looking(1)
    election.receive(2, vote(3, number=4, state=OBSERVING), 10)
    election.receive(3, vote(3, number=4, state=LEADING), 10)
    assert election.state == LOOKING


def test_joiners_with_other_zxids_and_rounds_in_their_votes_are_counted():
    election = looking(1, membership=ensemble(5))
    election.receive(2, vote(2, zxid=7, number=4, epoch=5, state=LEADING), 10)
    election.receive(3, vote(2, zxid=9, number=8, epoch=5, state=FOLLOWING), 11)
    election.receive(4, vote(2, zxid=9, number=8, epoch=4, state=FOLLOWING), 12)  # of another epoch: not one of them
    assert election.state == LOOKING
    election.receive(5, vote(2, zxid=7, number=4, epoch=5, state=FOLLOWING), 13)
    assert election.state == FOLLOWING


def test_a_dead_leader_is_not_elected_by_those_who_have_not_noticed():
    election = looking(1, membership=ensemble(5))
    for sid in (2, 3, 4):
        election.receive(sid, vote(5, number=4, epoch=5, state=FOLLOWING), 10)
    assert election.state == LOOKING
    election.receive(5, vote(5, number=4, epoch=5, state=LEADING), 11)
    assert election.state == FOLLOWING


def test_a_server_that_looks_again_no_longer_speaks_for_its_leader():
    election = looking(1)
    election.receive(3, vote(3, number=4, epoch=5, state=LEADING), 10)
    election.receive(3, vote(3, number=1, epoch=0, zxid=0), 11)  # it has given up
    election.receive(2, vote(3, number=4, epoch=5, state=FOLLOWING), 12)
    assert election.state == LOOKING


def test_within_a_round_a_leader_is_followed_as_soon_as_it_says_so():
    election = looking(1)
    election.receive(2, vote(2), 10)
    election.receive(2, vote(2, state=LEADING), 20)  # with our own vote a quorum; 3 need not be waited for
    assert (election.state, election.vote) == (FOLLOWING, Vote(2, 5, 1, 1))


def test_votes_for_another_history_of_the_same_leader_are_no_quorum():
    election = looking(1)
    election.receive(2, vote(2, zxid=6, state=LEADING), 20)
    assert election.state == LOOKING


def test_others_that_decide_on_a_better_server_do_not_hurry_us_into_our_own_choice():
    election = looking(2)
    election.receive(1, vote(2), 10)
    election.receive(3, vote(3, state=LEADING), 11)  # its vote was replaced by this on the way
    assert election.state == LOOKING
    election.receive(1, vote(3, state=FOLLOWING), 12)
    assert election.vote == Vote(3, 5, 1, 1)


def test_who_is_followed_in_this_round_leads():
    election = looking(3)
    election.receive(1, vote(3, state=FOLLOWING), 10)
    assert election.state == LEADING


def test_who_was_followed_in_an_earlier_round_does_not_lead_for_that():
    election = looking(3)
    for sid in (1, 2):
        election.receive(sid, vote(3, number=9, epoch=5, state=FOLLOWING), 10)
    assert election.state == LOOKING


def test_a_database_that_cannot_be_used_counts_for_nothing():
    election = looking(3, zxid=-1)
    election.receive(1, vote(1), 10)
    election.receive(2, vote(2, number=4), 11)
    for sid in (1, 2):
        election.receive(sid, vote(3, zxid=-1, state=FOLLOWING), 12)  # they followed it before it lost its data
    election.tick(10_000)
    assert election.state == LOOKING
    assert {said_vote for _, _, said_vote in said(election)} == {Vote(3, -1, 1, 1)}
    election.receive(1, vote(2, number=9, epoch=6, state=FOLLOWING), 20)
    election.receive(2, vote(2, number=9, epoch=6, state=LEADING), 21)
    assert election.state == FOLLOWING


def test_nor_is_it_counted_by_others_but_it_is_not_waited_for():
    election = looking(2)
    election.receive(3, vote(3, zxid=-1, number=8, epoch=9), 10)
    assert election.take_votes() == []
    election.receive(1, vote(2), 11)
    assert election.vote == Vote(2, 5, 1, 1)


def test_an_observer_looks_for_a_leader_without_a_vote():
    membership = ensemble(3, 1)
    election = Election(4, membership, observer=True)
    election.look(99, 9, 0)
    nothing = Vote(MIN_ZXID, MIN_ZXID, 1, MIN_ZXID)
    assert said(election) == [(sid, LOOKING, nothing) for sid in (1, 2, 3)]
    for sid in (1, 2, 3):
        election.receive(sid, vote(3), 10)
    election.tick(10_000)
    assert election.state == LOOKING
    election.receive(1, vote(3, epoch=2, state=FOLLOWING), 10_001)
    election.receive(3, vote(3, epoch=2, state=LEADING), 10_002)
    assert (election.state, election.vote) == (OBSERVING, Vote(3, 5, 1, 2))


def test_observers_are_answered_and_not_counted():
    membership = ensemble(2, 1)
    election = looking(2, membership=membership)
    ask = vote(MIN_ZXID, MIN_ZXID, 1, MIN_ZXID)
    election.receive(3, ask, 10)
    assert said(election) == [(3, LOOKING, Vote(2, 5, 1, 1))]
    election.receive(3, vote(2), 11)
    assert election.state == LOOKING
    election.receive(1, vote(2), 12)
    assert election.state == LEADING
    assert [to for to, _, _ in said(election)][-2:] == [1, 3]
    election.receive(3, ask, 13)
    assert said(election) == [(3, LEADING, Vote(2, 5, 1, 1))]


def test_strangers_and_votes_for_them_are_nothing():
    election = looking(1)
    election.receive(9, vote(9, zxid=99), 10)
    election.receive(2, vote(9, zxid=99), 10)
    assert election.take_votes() == []
    idle = Election(1, ensemble())
    idle.receive(9, vote(9), 0)
    idle.look(5, 1, 0)
    assert [to for to, _, _ in said(idle)] == [2, 3]


def test_once_decided_it_answers_those_who_look_and_nobody_else():
    election = looking(2)
    election.receive(1, vote(2), 10)
    election.tick(210)
    election.take_votes()
    election.receive(3, vote(3, zxid=99, number=1), 300)
    assert said(election) == [(3, LEADING, Vote(2, 5, 1, 1))]
    election.established(6)
    election.receive(3, vote(3, zxid=99, number=8), 400)
    assert said(election) == [(3, LEADING, Vote(2, 5, 1, 6))]  # the epoch is the new one, zxid and round stay
    election.receive(1, vote(2, state=FOLLOWING), 400)
    election.tick(10_000)
    assert (election.take_votes(), election.deadline_ms) == ([], None)


def test_what_came_while_it_was_leaving_is_heard_when_it_looks():
    election = looking(1)
    election.receive(2, vote(2, state=LEADING), 10)
    election.receive(3, vote(2, state=FOLLOWING), 10)
    assert election.state == FOLLOWING
    election.leave()
    election.take_votes()
    election.receive(3, vote(3, number=2), 20)
    assert (election.state, election.vote, election.take_votes()) == (IDLE, None, [])
    election.unreachable(2, True)
    election.look(5, 1, 30)
    assert election.deadline_ms == 50
    election.tick(50)
    assert election.vote == Vote(3, 5, 2, 1)


def test_nothing_is_established_without_an_election():
    with pytest.raises(InvariantBroken):
        looking(1).established(3)


def test_a_server_alone_decides_at_once():
    election = Election(1, ensemble(1))
    election.look(0, 0, 0)
    assert election.state == LEADING


def test_weights_decide_and_a_weightless_server_is_never_elected():
    membership = ensemble(5, groups={1: (1, 2), 2: (3, 4, 5)}, weights={1: 3, 3: 0})
    election = looking(1, membership=membership)
    election.receive(3, vote(3, zxid=99), 10)
    assert said(election) == [(3, LOOKING, Vote(1, 5, 1, 1))]
    election.receive(2, vote(2), 11)
    election.receive(4, vote(2), 12)
    election.tick(10_000)
    assert election.state == LOOKING  # 4 alone is half of its group
    election.receive(5, vote(2), 10_001)
    assert (election.state, election.vote) == (FOLLOWING, Vote(2, 5, 1, 1))
    weightless = looking(3, zxid=99, membership=membership)
    weightless.receive(2, vote(2), 10)
    assert {said_vote.leader for _, _, said_vote in said(weightless)} == {2}


def test_equal_inputs_give_equal_outputs():
    def run() -> list[tuple[int, Notification]]:
        election = looking(1, membership=ensemble(5))
        for at, sid in enumerate((4, 2, 5, 3)):
            election.receive(sid, vote(sid), at)
        return election.take_votes()

    assert run() == run()


def test_the_last_round_there_is_does_not_end_a_server():
    election = looking()
    election.receive(2, vote(2, number=2**63 - 1), 0)
    election.leave()
    election.look(5, 1, 0)
    assert all(encode_notification(note) for _, note in election.take_votes())
    election.receive(3, vote(3, number=2**63 - 1), 0)
    election.receive(2, vote(3, number=2**63 - 1), 0)
    assert (election.state, election.vote.leader) == (FOLLOWING, 3)
