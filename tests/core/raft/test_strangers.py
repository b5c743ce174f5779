"""Somebody says at the ports between servers that he is server 2. That is not stored, and achieves little.

What a member does that joins, a stranger can do as well where there is no TLS: then it counts as that member.
"""

import pytest

from recipes.core.raft.claims import MOST_CLAIMED
from recipes.core.raft.options import RaftOptions
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Kind
from recipes.core.replicas.election import ASK_AGAIN_MS
from recipes.core.replicas.terms import TERM
from tests.core.raft.rig import TICK_MS, Alone, entry

T1 = 1 << 32
FAR = 1 << 24


def hello(it, sid, term, last_zxid=0):
    return RAFT_MESSAGES.encode_hello(it.peer.ensemble, sid, term, last_zxid)


def stranger(it, term, sid=2):
    """A connection to the leader, with an introduction."""
    link = it.peer.accept()
    it.takes(link, hello(it, sid, term))
    return link


def answer(it, link):
    """A follower answers the last heartbeat."""
    it.takes(link, w.encode_appended(it.peer.term, T1 + 1, T1 + 1, it.peer.leader._round))


def beat(it, *links):
    """Half a tick passes, and these followers answer."""
    it.wait(TICK_MS // 2)
    for link in links:
        answer(it, link)


def led(*sids):
    """It leads term 1, and these servers follow."""
    it = Alone()
    it.lead()
    links = [it.joined_by(sid) for sid in sids]
    for link in links:
        answer(it, link)
    assert it.peer.serving
    return it, *links


# Terms.


def test_f1_a_term_that_a_quorum_can_do_without_moves_none():
    it = Alone()
    it.until_it(Kind.ASK_EARLY)
    it.hears(2, Kind.REFUSE, FAR)
    it.hears(3, Kind.GRANT_EARLY, 0)
    assert it.cells[TERM] == b"1"


def test_f1_a_term_is_stored_once_a_quorum_would_elect_this_server_in_one_above():
    it = Alone()
    it.until_it(Kind.ASK_EARLY)
    for _ in range(3):
        it.hears(2, Kind.REFUSE, 7)
    assert it.cells[TERM] == b"0"
    assert it.until_it(Kind.ASK_EARLY).term == 7
    assert it.cells[TERM] == b"0"
    it.hears(2, Kind.GRANT_EARLY, 7)
    assert it.cells[TERM] == b"8"


def test_f1_of_two_later_terms_the_lower_one_is_enough():
    it = Alone(size=5)
    it.until_it(Kind.ASK_EARLY)
    for sid, term in ((2, FAR), (3, 9), (4, 7)):
        it.hears(sid, Kind.REFUSE, term)
    assert it.until_it(Kind.ASK_EARLY).term == 9


def asks_about(it, term):
    """What it asks about in 20 attempts in which server 2 says that it is in this term."""
    asked = []
    for _ in range(20):
        asked.append(it.until_it(Kind.ASK_EARLY).term)
        it.hears(2, Kind.REFUSE, term)
    return asked


def test_f1_a_term_that_nobody_can_be_in_is_not_asked_about():
    assert set(asks_about(Alone(), MOST_CLAIMED + 1)) == {0}


def test_f1_a_term_far_ahead_counts_where_a_leader_is_missing_for_long():
    it = Alone()
    asked = asks_about(it, MOST_CLAIMED)
    assert asked == sorted(asked) and set(asked) == {0, MOST_CLAIMED} and asked.count(0) == 8
    assert it.cells[TERM] == b"0"
    assert [ballot.kind for _, ballot in it.is_asked(3, FAR)] == [Kind.GRANT]


def test_f1_a_candidate_far_ahead_is_not_elected_at_once():
    it = Alone()
    assert [ballot.kind for _, ballot in it.hears(3, Kind.ASK_EARLY, FAR)] == [Kind.REFUSE]
    assert [ballot.kind for _, ballot in it.hears(3, Kind.ASK, FAR + 1)] == [Kind.REFUSE]
    assert it.cells[TERM] == b"0"
    assert [ballot.kind for _, ballot in it.is_asked(3, 1 << 16)] == [Kind.GRANT]


def test_f1_once_all_have_answered_the_next_question_comes_soon():
    it = Alone()
    it.until_it(Kind.ASK_EARLY)
    it.hears(3, Kind.REFUSE, 9)
    it.hears(2, Kind.REFUSE, 7)
    since_ms = it.now_ms
    assert it.until_it(Kind.ASK_EARLY).term == 7
    assert it.now_ms - since_ms < ASK_AGAIN_MS


def test_f1_a_candidate_that_has_not_asked_before_moves_no_term():
    it = Alone()
    assert [ballot.kind for _, ballot in it.hears(2, Kind.ASK, 9)] == [Kind.REFUSE]
    it.hears(3, Kind.ASK_EARLY, 8)
    it.hears(2, Kind.ASK_EARLY, 7)
    assert [ballot.kind for _, ballot in it.hears(2, Kind.ASK, 9)] == [Kind.REFUSE]
    assert it.cells[TERM] == b"0"
    assert [ballot.kind for _, ballot in it.hears(2, Kind.ASK, 8)] == [Kind.GRANT]
    assert it.cells[TERM] == b"8"


def test_f1_the_term_of_a_leader_is_stored_once_the_leader_was_reached():
    it = Alone()
    it.hears(2, Kind.LEADS, 9)
    assert it.cells[TERM] == b"0" and it.dials == [2]
    link = it.peer.dialled(2)
    it.stuck = True
    sent = it.takes(link, hello(it, 2, 9) + w.encode_append(9, 0, 0, 1, ()))
    assert sent == [w.Hello(1, it.peer.ensemble, 1, 0, 0)] and it.cells[TERM] == b"0"
    assert it.takes(link, w.encode_append(9, 0, 0, 2, ())) == []  # it says nothing in a term that it may forget
    it.stuck = False
    it.turn()
    assert it.cells[TERM] == b"9"
    assert it.sent[link.key] == [w.Appended(9, 0, 0, 1, []), w.Appended(9, 0, 0, 2, [])]


def test_f1_what_a_leader_of_a_later_term_sends_while_that_is_stored_may_be_wrong():
    it = Alone()
    it.hears(2, Kind.LEADS, 9)
    link = it.peer.dialled(2)
    it.stuck = True
    it.takes(link, hello(it, 2, 9) + w.encode_synced())
    assert not link.wants_close
    it.stuck = False
    it.turn()
    assert "SYNCED in the stage MATCHING" in link.why_closed and it.peer.follower is None


def test_f1_without_the_guard_a_term_is_stored_as_it_is_heard():
    it = Alone(options=RaftOptions(guards_terms=False))
    it.until_it(Kind.ASK_EARLY)
    it.hears(2, Kind.REFUSE, FAR)
    assert it.cells[TERM] == b"%d" % FAR


# Leaderships.


@pytest.mark.parametrize("kind", [Kind.REFUSE, Kind.LEADS, Kind.ASK, Kind.ASK_EARLY, Kind.GRANT_EARLY, Kind.GRANT])
def test_f6_a_follower_that_hears_its_leader_listens_to_nobody_else(kind):
    it = Alone()
    link = it.follow(2, 1)
    it.takes(link, w.encode_append(1, 0, 0, 1, ()))
    for sid in (2, 3):
        it.hears(sid, kind, 9)
    assert it.peer.follower is not None and not link.wants_close
    assert it.cells[TERM] == b"1"


@pytest.mark.parametrize("kind", [Kind.REFUSE, Kind.LEADS, Kind.ASK, Kind.ASK_EARLY, Kind.GRANT_EARLY, Kind.GRANT])
def test_f6_a_leader_gives_way_for_none_of_its_followers(kind):
    it, link = led(2)
    for term in (2, 3, 4, 4, 4):
        it.hears(2, kind, term)
        beat(it, link)
    assert it.peer.serving and it.cells[TERM] == b"1"


def test_f6_a_leader_that_hears_a_quorum_listens_to_no_other_leader():
    it, _ = led(2)
    it.hears(3, Kind.LEADS, 9)
    assert it.peer.serving
    it.wait(5 * TICK_MS)
    it.hears(3, Kind.LEADS, 9)
    assert it.peer.leader is None and it.peer.follower.leader_sid == 3


def test_f6_a_stopped_member_ends_one_leadership_at_most():
    it, link = led(3)
    it.hears(2, Kind.REFUSE, 9)
    it.hears(2, Kind.REFUSE, 9)
    beat(it, link)
    it.hears(2, Kind.REFUSE, 10)  # each time another one: a member answers with its own
    beat(it, link)
    assert it.peer.serving and not stranger(it, 9).closed and it.peer.serving
    it.hears(2, Kind.REFUSE, 10)
    assert not it.peer.serving and it.cells[TERM] == b"1"
    assert it.until_it(Kind.ASK_EARLY).term == 10
    it.hears(3, Kind.GRANT_EARLY, 10)
    it.hears(3, Kind.GRANT, 11)
    link = it.joined_by(3)
    it.takes(link, w.encode_appended(11, T1 * 11 + 1, T1 * 11 + 1, it.peer.leader._round))
    assert it.peer.serving and it.peer.epoch == 11
    for term in (12, 12, 99, 99, 99):
        it.hears(2, Kind.REFUSE, term)
        it.wait(TICK_MS // 2)
        it.takes(link, w.encode_appended(11, T1 * 11 + 1, T1 * 11 + 1, it.peer.leader._round))
    assert it.peer.serving and it.cells[TERM] == b"11"


def test_f6_a_term_too_far_ahead_of_a_leader_is_named_once():
    it, link = led(3)
    for _ in range(3):
        it.hears(2, Kind.REFUSE, FAR)
        beat(it, link)
    (said,) = [note for note in it.notes if "no leader gives way" in note]
    assert said.startswith(f"somebody says that server 2 is in term {FAR}, far above term 1:")
    assert it.peer.serving


# Connections.


def test_f6_a_live_member_is_not_displaced():
    it, member, other = led(2, 3)
    for term in (0, 1):
        link = stranger(it, term)
        assert it.sent[link.key] == [] and not link.wants_close
        beat(it, member, other)
        it.wait(TICK_MS // 2)
        assert link.why_closed == "server 2 has another connection, which is alive"
    assert not member.wants_close and it.peer.serving


def test_f6_a_connection_that_has_replaced_another_one_waits_for_none():
    it, member, _ = led(2, 3)
    first, second = stranger(it, 1), stranger(it, 1)
    it.takes(second, hello(it, 2, 1))  # it says so once more
    assert first.why_closed == "it has made a new connection" and not second.wants_close
    member.lost()
    it.turn()
    assert [type(message) for message in it.sent[second.key]] == [w.Hello, w.Append]
    assert it.peer.leader._by_sid[2].link is second


def test_f6_a_waiting_connection_that_goes_takes_no_place():
    it, member, _ = led(2, 3)
    stranger(it, 1).lost()
    member.lost()
    assert 2 not in it.peer.leader._by_sid


def test_f6_a_member_that_comes_again_waits_a_tick_for_a_connection_that_is_silent():
    it, silent, other = led(2, 3)
    again = stranger(it, 1)
    for _ in range(3):
        beat(it, other)
        if not silent.wants_close:
            it.takes(silent, b"\0")  # the beginning of a message is no answer
    assert silent.why_closed == f"it was silent for {TICK_MS} ms, and has made a new connection"
    assert it.peer.leader._by_sid[2].link is again and it.peer.serving


def test_f6_a_connection_that_has_answered_nothing_gives_way():
    it = Alone()
    it.lead()
    first, second = stranger(it, 1), stranger(it, 1)
    assert first.why_closed == "it has made a new connection"
    assert it.peer.leader._by_sid[2].link is second


def test_f6_a_leader_that_gives_up_has_no_second_connections_to_settle():
    it, member, other = led(2, 3)
    it.stuck = True
    it.peer.leader.propose(entry(T1 + 2))
    for _ in range(100):
        stranger(it, 1)
        it.wait(TICK_MS // 2)
        if it.peer.leader is None:
            break
        for link in (member, other):
            answer(it, link)
    assert it.peer.why_looking == "this server's own disk is too slow to lead"
