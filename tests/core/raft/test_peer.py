"""What one server does, told step by step."""

import pytest

from recipes.core.link import MOST_STRANGERS
from recipes.core.raft.claims import MOST_TERM
from recipes.core.raft.options import TEXTBOOK
from recipes.core.raft.terms import VOTE
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Kind
from recipes.core.replicas.terms import TERM
from recipes.core.replication import InstallSnapshot, RoleChanged, SnapshotRequested, Truncate
from tests.core.raft.rig import TICK_MS, Alone, entry

T1, T2, T3 = 1 << 32, 2 << 32, 3 << 32


def kinds(said):
    return [(sid, ballot.kind) for sid, ballot in said]


# Votes.


def test_a_question_comes_before_a_term_of_its_own():
    it = Alone(log=(T1 + 1,), term=1)
    asked = it.until_it(Kind.ASK_EARLY)
    assert (asked.term, asked.zxid, it.cells[TERM]) == (1, T1 + 1, b"1")
    said = it.hears(3, Kind.GRANT_EARLY, 1)
    assert it.cells == {TERM: b"2", VOTE: b"2 1"}
    assert kinds(said) == [(2, Kind.ASK), (3, Kind.ASK)]


def test_without_pre_vote_a_term_begins_at_once():
    it = Alone(options=TEXTBOOK)
    assert it.until_it(Kind.ASK).term == 1


def test_a_candidate_asks_once_its_term_and_its_vote_are_on_disk():
    it = Alone()
    it.until_it(Kind.ASK_EARLY)
    it.stuck = True
    assert it.hears(2, Kind.GRANT_EARLY, 0) == []
    it.write()  # the term
    it.turn()
    assert it.said == []
    it.write()  # the vote
    it.turn()
    assert kinds(it.said) == [(2, Kind.ASK), (3, Kind.ASK)]


def test_a_vote_is_on_disk_before_it_is_told():
    it = Alone()
    it.stuck = True
    assert it.is_asked(2, 1) == []
    it.write(2)
    it.turn()
    assert kinds(it.said) == [(2, Kind.GRANT)]
    assert it.cells == {TERM: b"1", VOTE: b"1 2"}


def test_one_vote_a_term_also_after_a_restart():
    it = Alone()
    assert kinds(it.is_asked(2, 1)) == [(2, Kind.GRANT)]
    assert kinds(it.hears(3, Kind.ASK, 1)) == [(3, Kind.REFUSE)]
    assert kinds(it.hears(2, Kind.ASK, 1)) == [(2, Kind.GRANT)]  # its first answer may be lost
    again = Alone(term=1, vote=it.cells[VOTE])
    assert kinds(again.hears(3, Kind.ASK, 1)) == [(3, Kind.REFUSE)]
    assert kinds(again.is_asked(3, 2)) == [(3, Kind.GRANT)]


@pytest.mark.parametrize("kind", [Kind.ASK, Kind.ASK_EARLY])
def test_a_log_that_ends_earlier_gets_no_vote(kind):
    it = Alone(log=(T1 + 1, T2 + 1), term=2)
    assert kinds(it.hears(2, kind, 3, T1 + 9)) == [(2, Kind.REFUSE)]
    granted = Kind.GRANT if kind is Kind.ASK else Kind.GRANT_EARLY
    ask = it.is_asked if kind is Kind.ASK else lambda sid, term, zxid: it.hears(sid, kind, term, zxid)
    assert kinds(ask(3, 4, T2 + 1)) == [(3, granted)]


def test_a_candidate_of_an_earlier_term_is_told_the_term():
    it = Alone(term=5)
    ((sid, ballot),) = it.hears(2, Kind.ASK, 4)
    assert (sid, ballot.kind, ballot.term) == (2, Kind.REFUSE, 5)


def test_a_vote_of_one_server_counts_once():
    it = Alone(size=5)
    asked = it.until_it(Kind.ASK_EARLY)
    it.hears(2, Kind.GRANT_EARLY, asked.term)
    it.hears(2, Kind.GRANT_EARLY, asked.term)
    assert it.cells[TERM] == b"0"
    it.hears(3, Kind.GRANT_EARLY, asked.term)
    for _ in range(3):
        it.hears(2, Kind.GRANT, 1)
    assert it.peer.leader is None
    it.hears(3, Kind.GRANT, 1)
    assert it.peer.leader is not None


def test_votes_of_another_term_do_not_count():
    it = Alone(term=3)
    it.hears(2, Kind.GRANT_EARLY, it.until_it(Kind.ASK_EARLY).term)
    it.hears(2, Kind.GRANT, 3)
    assert it.peer.leader is None


def test_of_two_that_ask_at_once_the_better_one_stands():
    it = Alone(sid=2, log=(T1 + 1,), term=1)
    for _ in range(100):
        if it.said:
            break
        it.wait(10)
    assert kinds(it.hears(1, Kind.ASK_EARLY, 1, T1 + 1)) == [(1, Kind.REFUSE)]
    assert kinds(it.hears(3, Kind.ASK_EARLY, 1, T1 + 1)) == [(3, Kind.GRANT_EARLY)]
    it.hears(1, Kind.GRANT_EARLY, 1)
    assert it.cells[TERM] == b"1"  # it has given way


def test_a_server_that_hears_from_a_leader_elects_no_other():
    it = Alone()
    link = it.follow(2, 1)
    it.takes(link, w.encode_append(1, 0, 0, 1, ()))
    assert kinds(it.hears(3, Kind.ASK_EARLY, 1)) == [(3, Kind.REFUSE)]
    assert kinds(it.hears(3, Kind.ASK, 9)) == [(3, Kind.REFUSE)]
    assert it.cells[TERM] == b"1"
    it.wait(5 * TICK_MS)
    assert it.peer.follower is None
    assert kinds(it.is_asked(3, 9)) == [(3, Kind.GRANT)]


def test_a_leader_of_an_earlier_term_is_told_so_and_gives_way():
    it = Alone(term=4)
    ((sid, ballot),) = it.hears(2, Kind.LEADS, 3)
    assert (sid, ballot.kind, ballot.term) == (2, Kind.REFUSE, 4)
    leader = Alone()
    leader.lead()
    leader.hears(2, Kind.REFUSE, 4)
    leader.wait(TICK_MS // 2)
    leader.hears(2, Kind.REFUSE, 4)
    assert leader.peer.leader is None
    assert leader.cells[TERM] == b"1"
    assert leader.until_it(Kind.ASK_EARLY).term == 4
    leader.hears(3, Kind.GRANT_EARLY, 4)
    assert leader.cells[TERM] == b"5"


@pytest.mark.parametrize("kind", Kind)
def test_a_term_that_is_far_ahead_is_not_believed(kind):
    it = Alone()
    assert it.hears(2, kind, MOST_TERM + 1) == []
    assert it.cells[TERM] == b"0"
    assert any("server 2 is in term 1610612737: expected 1610612736 at most" in note for note in it.notes)


def test_a_server_that_may_have_forgotten_its_vote_votes_once_it_knows_every_term():
    it = Alone(unsure="its disk was replaced")
    assert it.cells[VOTE] == b"0 -2"
    assert kinds(it.hears(2, Kind.ASK, 3)) == [(2, Kind.REFUSE)]
    link = it.follow(3, 4)
    assert w.Hello(1, it.peer.ensemble, 1, 0, -1) in it.sent[link.key]
    it.takes(link, w.encode_snapshot(4, T3 + 1) + b"".join(w.encode_parts(iter([b"tree"]), lambda: T3 + 1)))
    assert it.cells[VOTE] == b"0 -2"  # server 2 was heard in term 3, before this one had its data
    it.takes(link, w.encode_append(4, T3 + 1, T3 + 1, 1, ()))
    assert it.sent[link.key][-1] == w.Appended(4, T3 + 1, -1, 1, [])  # server 2 may have its vote of term 5
    it.hears(2, Kind.REFUSE, 4)
    assert it.sent[link.key][-1] == w.Appended(4, T3 + 1, T3 + 1, 1, [])
    assert it.cells[VOTE] == b"4 1"  # as if it had voted for itself: so for nobody else in term 4
    assert any("votes again, from term 5 on" in note for note in it.notes)


# The leader.


def test_a_term_begins_with_an_entry_that_changes_nothing():
    it = Alone(log=(T1 + 1,), term=1)
    it.lead()
    assert it.log == [T1 + 1, T2 + 1]
    assert (2, Kind.LEADS) in kinds(it.said)
    assert it.applied == []
    assert not it.peer.serving


def test_an_entry_of_an_earlier_term_is_not_committed_by_counting():
    """Figure 8 of the paper."""
    it = Alone(size=5, log=(T1 + 1, T2 + 1), term=2)
    it.hears(2, Kind.GRANT_EARLY, it.until_it(Kind.ASK_EARLY).term)
    it.hears(3, Kind.GRANT_EARLY, 2)
    it.hears(2, Kind.GRANT, 3)
    it.hears(3, Kind.GRANT, 3)
    links = [it.joined_by(sid, T1 + 1) for sid in (2, 3)]
    for link in links:
        it.takes(link, w.encode_appended(3, T2 + 1, T2 + 1, 1))
    assert it.applied == []
    it.takes(links[0], w.encode_appended(3, T3 + 1, T3 + 1, 1))
    assert it.applied == []
    it.takes(links[1], w.encode_appended(3, T3 + 1, T3 + 1, 1))
    assert it.applied == [T1 + 1, T2 + 1, T3 + 1]
    assert it.events[-1] == RoleChanged(True)


def test_a_leader_counts_itself_once_its_own_disk_has_the_entry():
    it = Alone(size=3)
    it.lead()
    link = it.joined_by(2)
    it.takes(link, w.encode_appended(1, 0, 0, 1))
    it.takes(link, w.encode_appended(1, T1 + 1, T1 + 1, 1))
    it.stuck = True
    it.peer.leader.propose(entry(T1 + 2))
    it.turn()
    it.takes(link, w.encode_appended(1, T1 + 2, T1 + 2, 1))
    assert it.peer.committed_zxid == T1 + 1
    it.stuck = False
    it.turn()
    assert it.applied[-1] == T1 + 2


def test_a_follower_gets_what_it_lacks_from_where_both_logs_agree():
    it = Alone(log=(T1 + 1, T1 + 2, T2 + 1), term=2)
    it.lead()
    link = it.joined_by(2, T1 + 5)
    probe = it.sent[link.key][-1]
    assert probe == w.Append(3, T1 + 2, 0, probe.round, [])
    sent = it.takes(link, w.encode_conflict(3, T1 + 2, T1 + 1))
    assert [message.prev_zxid for message in sent] == [T1 + 1]
    stale = it.takes(link, w.encode_conflict(3, T1 + 2, 0))  # the answer to the earlier guess, once more
    assert stale == []
    (sent,) = it.takes(link, w.encode_appended(3, T1 + 1, T1 + 1, 1))
    assert [each.zxid for each in sent.entries] == [T1 + 2, T2 + 1, T3 + 1]


def test_a_follower_without_a_log_gets_the_tree():
    it = Alone()
    it.lead()
    link = it.joined_by(2, -1)
    assert it.events[-1] == SnapshotRequested(link.key)
    it.sent[link.key] = []
    it.peer.leader.dumped(link.key, 0, iter([b"tree"]))
    it.turn()
    snapshot, part, end, append = it.sent[link.key]
    assert (snapshot, part, end) == (w.Snapshot(1, 0), w.Part(b"tree"), w.End(0))
    assert [each.zxid for each in append.entries] == [T1 + 1]


def test_a_follower_that_stores_nothing_is_dropped_but_not_while_it_catches_up():
    it = Alone(size=3)
    it.lead()
    slow, new = it.joined_by(2), None
    it.takes(slow, w.encode_appended(1, 0, 0, 1))
    it.takes(slow, w.encode_appended(1, T1 + 1, T1 + 1, 1))
    it.peer.leader.propose(entry(T1 + 2))
    for number in range(1, 11):
        it.wait(TICK_MS // 2)
        it.takes(slow, w.encode_appended(1, T1 + 2, T1 + 1, number))
        if number == 7:
            new = it.joined_by(3, 0)
            it.takes(new, w.encode_appended(1, 0, 0, number))
        elif new is not None:
            it.takes(new, w.encode_appended(1, T1 + 2, T1 + 1, number))
    assert slow.why_closed == "it has not stored 0x100000002 within 400 ms"
    assert not new.wants_close


def test_a_leader_without_a_quorum_steps_down():
    it = Alone()
    it.lead()
    for _ in range(20):
        it.wait(TICK_MS // 2)
    assert it.peer.leader is None
    assert it.log == [T1 + 1]  # what it has logged stays


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        (RAFT_MESSAGES.encode_hello(1, 2, 1, 0), "different lists of servers"),
        (RAFT_MESSAGES.encode_hello(0, 9, 1, 0), "server 9 is not one of the others"),
        (RAFT_MESSAGES.encode_hello(0, 1, 1, 0), "server 1 is not one of the others"),
        (RAFT_MESSAGES.encode_hello(0, 2, 1 << 40, 0), "it is in term 1099511627776: expected 1610612736 at most"),
        (RAFT_MESSAGES.encode_hello(0, 2, 7, 0), "it is in term 7, and connects to the leader of term 1"),
    ],
)
def test_a_server_that_does_not_belong_here_is_refused_in_both_logs(hello, why):
    it = Alone()
    it.lead()
    link = it.peer.accept()
    if "list" not in why:
        hello = hello.replace((0).to_bytes(8, "big"), it.peer.ensemble.to_bytes(8, "big"), 1)
    (sent,) = it.takes(link, hello)
    assert why in sent.why
    assert any(why in note for note in it.notes)


def test_f6_a_member_with_another_members_certificate_is_refused_in_both_logs():
    it = Alone()
    it.lead()
    link = it.peer.accept()
    link.certified(lambda sid: f"its certificate is not that of server {sid}")
    (sent,) = it.takes(link, RAFT_MESSAGES.encode_hello(it.peer.ensemble, 2, 1, 0))
    assert sent.why == "its certificate is not that of server 2"
    assert "server 2 is refused: its certificate is not that of server 2" in it.notes


def test_f5_strangers_keep_no_member_out():
    """What they send is part of a message, so that the shell has heard something from each of them."""
    it = Alone()
    it.lead()
    strangers = [it.peer.accept() for _ in range(MOST_STRANGERS)]
    for link in strangers:
        link.receive(b"\0")
    member = it.peer.accept()
    assert member is not None
    assert strangers[0].wants_close and not any(link.wants_close for link in strangers[1:])
    assert any(
        isinstance(sent, w.Hello) for sent in it.takes(member, RAFT_MESSAGES.encode_hello(it.peer.ensemble, 2, 1, 0))
    )
    assert member.sid == 2 and not member.wants_close


def test_a_member_of_zab_is_hung_up_on_with_a_sentence():
    it = Alone()
    it.lead()
    link = it.peer.accept()
    link.receive(b"\0\0\0\x0b" + bytes(40))  # FOLLOWERINFO
    it.turn()
    assert link.wants_close
    assert any("it does not speak raft: it may run zab, as Apache's servers do" in note for note in it.notes)


# The follower.


def test_entries_are_acknowledged_once_they_are_on_disk():
    it = Alone()
    link = it.follow(2, 1)
    it.takes(link, w.encode_append(1, 0, 0, 1, ()))
    it.stuck = True
    sent = it.takes(link, w.encode_append(1, 0, T1 + 1, 1, [entry(T1 + 1)]))
    assert sent == []
    it.stuck = False
    it.turn()
    assert it.sent[link.key] == [w.Appended(1, T1 + 1, T1 + 1, 1, [])]
    assert it.applied == [T1 + 1]
    assert it.peer.serving


def test_a_heartbeat_is_answered_at_once_with_the_sessions():
    it = Alone()
    link = it.follow(2, 1)
    it.takes(link, w.encode_append(1, 0, 0, 1, ()))
    it.peer.learner.touch(9, 4000)
    it.stuck = True
    sent = it.takes(link, w.encode_append(1, 0, 0, 2, [entry(T1 + 1)]))
    assert sent == [w.Appended(1, T1 + 1, 0, 2, [(9, 4000)])]


def test_a_log_that_differs_is_cut_before_it_gets_the_leaders_entries():
    it = Alone(log=(T1 + 1, T1 + 2, T1 + 3), term=1)
    link = it.follow(2, 2)
    (sent,) = it.takes(link, w.encode_append(2, T2 + 4, 0, 1, ()))
    assert sent == w.Conflict(2, T2 + 4, T1 + 3)
    it.stuck = True
    it.takes(link, w.encode_append(2, T1 + 1, 0, 1, [entry(T2 + 1)]))
    assert it.writes[0] == Truncate(T1 + 1)
    it.peer.flushed(T1 + 3)  # of before: it says nothing of what stays
    assert it.peer.flushed_zxid == T1 + 1
    it.stuck = False
    it.turn()
    assert it.log == [T1 + 1, T2 + 1]
    assert it.sent[link.key][-1] == w.Appended(2, T2 + 1, T2 + 1, 1, [])


def test_an_older_append_deletes_nothing():
    it = Alone(log=(T1 + 1, T1 + 2), term=1)
    link = it.follow(2, 1)
    it.takes(link, w.encode_append(1, 0, 0, 1, [entry(T1 + 1)]))
    it.takes(link, w.encode_append(1, 0, 0, 2, ()))
    assert it.log == [T1 + 1, T1 + 2]


def test_what_is_committed_is_never_cut():
    it = Alone(log=(T1 + 1,), term=1)
    link = it.follow(2, 1)
    it.takes(link, w.encode_append(1, T1 + 1, T1 + 1, 1, ()))
    assert it.applied == [T1 + 1]
    it.takes(link, w.encode_append(1, 0, 0, 2, [entry(T2 + 1)]))
    assert link.wants_close
    assert it.log == [T1 + 1]


def test_a_commit_beyond_what_was_matched_waits():
    it = Alone(log=(T1 + 1, T1 + 2), term=1)
    link = it.follow(2, 2)
    it.takes(link, w.encode_append(2, T1 + 1, T2 + 1, 1, ()))
    assert it.applied == [T1 + 1]  # what follows may not be the leader's
    it.takes(link, w.encode_append(2, T1 + 1, T2 + 1, 1, [entry(T2 + 1)]))
    assert it.applied == [T1 + 1, T2 + 1]


def test_a_leaders_tree_replaces_log_and_tree_and_is_shown_once_it_is_whole():
    it = Alone(log=(T1 + 1,), term=1)
    link = it.follow(2, 3)
    it.takes(link, w.encode_append(3, T3 + 4, 0, 1, ()))
    tree = w.encode_snapshot(3, T2 + 5) + b"".join(w.encode_parts(iter([b"a", b"b"]), lambda: T3 + 1))
    it.stuck = True
    it.takes(link, tree)
    assert it.writes == [InstallSnapshot(T2 + 5, b"ab")]
    (sent,) = it.takes(link, w.encode_append(3, T2 + 5, T2 + 5, 2, ()))
    assert sent.durable_zxid == 0
    it.stuck = False
    it.turn()
    it.takes(link, w.encode_append(3, T2 + 5, T3 + 1, 3, [entry(T3 + 1)]))
    assert it.applied == [T3 + 1]
    assert it.peer.serving


def test_a_message_of_another_stage_or_term_ends_the_connection():
    for data, why in (
        (w.encode_synced(), "SYNCED in the stage MATCHING: expected APPEND, SNAPSHOT, REFUSED"),
        (w.encode_append(9, 0, 0, 1, ()), "a message of term 9: expected 1"),
        (w.encode_snapshot(1, 9 << 32), "a snapshot of 0x900000000 in term 1"),
    ):
        it = Alone()
        link = it.follow(2, 1)
        link.receive(data)
        assert link.why_closed == why
        assert it.peer.follower is None


def test_without_room_on_the_disk_it_takes_no_part():
    it = Alone()
    it.lead()
    it.peer.no_space(True)
    it.turn()
    assert it.peer.leader is None
    assert it.hears(2, Kind.ASK, 9) == []
    it.wait(10_000)
    assert it.said == []
    it.peer.no_space(False)
    assert it.until_it(Kind.ASK_EARLY).term == 1
