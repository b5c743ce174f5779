"""Where two logs agree, with the logs of figure 7 of the paper."""

import pytest

from recipes.core.errors import WireError
from recipes.core.history import History
from recipes.core.replicas import matching
from recipes.core.replication import Entry


def zxids(*terms):
    """The zxids of a log whose entries have these terms."""
    counts = dict.fromkeys(terms, 0)
    found = []
    for term in terms:
        counts[term] += 1
        found.append(term << 32 | counts[term])
    return found


def log_of(*terms):
    return History(0, [Entry(zxid, b"") for zxid in zxids(*terms)])


def entries(*them):
    return [Entry(zxid, b"") for zxid in them]


LEADER = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
FIGURE_7 = {  # of the followers a to f: the number of entries that they share with the leader
    "a": ((1, 1, 1, 4, 4, 5, 5, 6, 6), 9),
    "b": ((1, 1, 1, 4), 4),
    "c": ((1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6), 10),
    "d": ((1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7), 10),
    "e": ((1, 1, 1, 4, 4, 4, 4), 5),
    "f": ((1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3), 3),
}


def search(leader, follower, by_term):
    """Guess until both logs have the entry, as a leader does. Returns it, and how often the follower said no."""
    prev, steps = leader.last_zxid, 0
    while matching.matched(follower, 0, prev) is None:
        prev = matching.next_probe(leader, prev, matching.hint(follower, prev), by_term=by_term)
        steps += 1
    return prev, steps


@pytest.mark.parametrize("name", FIGURE_7)
@pytest.mark.parametrize("by_term", [True, False])
def test_the_logs_of_figure_7_become_the_leaders(name, by_term):
    leader, (terms, shared) = log_of(*LEADER), FIGURE_7[name]
    follower = log_of(*terms)
    prev, steps = search(leader, follower, by_term)
    assert prev == zxids(*LEADER)[shared - 1]
    assert steps <= len(set(LEADER)) if by_term else steps == len(LEADER) - shared
    cut_zxid, rest = matching.change(follower, prev, leader.behind(prev))
    assert (cut_zxid is None) == (name in "abcd")
    if cut_zxid is not None:
        follower.truncate(cut_zxid)
    for entry in rest:
        follower.append(entry)
    assert [entry.zxid for entry in follower.behind(0)][: len(LEADER)] == zxids(*LEADER)


def test_steps_of_the_paper_are_as_many_as_the_conflict_is_long():
    ours = log_of(1, *[2] * 50)
    theirs = log_of(1, *[3] * 40)
    assert search(ours, theirs, by_term=False)[1] == 50
    assert search(ours, theirs, by_term=True)[1] <= 2


def test_a_log_that_is_committed_further_agrees_up_to_there():
    log = log_of(1, 1, 1, 1)
    assert matching.matched(log, 1 << 32 | 3, 1 << 32 | 1) == 1 << 32 | 3
    assert matching.matched(log, 0, 1 << 32 | 4) == 1 << 32 | 4
    assert matching.matched(log, 0, 2 << 32 | 1) is None


def test_an_append_that_comes_late_deletes_nothing():
    log = log_of(1, 1, 1, 1)
    first, second, third, _ = zxids(1, 1, 1, 1)
    assert matching.change(log, first, entries(second, third)) == (None, ())
    assert matching.change(log, first, []) == (None, [])


def test_only_an_entry_that_differs_and_what_follows_it_go():
    log = log_of(1, 1, 2, 2)
    first, second = zxids(1, 1)
    change = matching.change(log, first, entries(second, 3 << 32 | 1))
    assert change.cut_zxid == second
    assert [entry.zxid for entry in change.entries] == [3 << 32 | 1]


def test_entries_that_are_committed_here_are_passed_over():
    log = log_of(1, 1)
    first, second, third = zxids(1, 1, 1)
    change = matching.change(log, second, entries(first, second, third))
    assert change.cut_zxid is None
    assert [entry.zxid for entry in change.entries] == [third]


def test_a_gap_is_refused():
    with pytest.raises(WireError, match="entry 0x100000003 behind 0x100000001"):
        matching.change(log_of(1), 1 << 32 | 1, entries(1 << 32 | 3))


def test_a_guess_before_what_is_kept_gives_the_tree():
    log = History(1 << 32 | 5, entries(1 << 32 | 6))
    assert matching.next_probe(log, 1 << 32 | 6, 1 << 32 | 4, by_term=True) is None
    assert matching.next_probe(log, 1 << 32 | 6, 0, by_term=False) == 1 << 32 | 5
    assert matching.next_probe(log, 1 << 32 | 5, 0, by_term=False) is None
