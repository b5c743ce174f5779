import pytest

from recipes.core.errors import DiskError
from recipes.core.raft.terms import (
    ABSTAINS,
    FIRST_VALUES,
    NOBODY,
    VOTE,
    Vote,
    settle_terms,
    stored_vote,
    vote_cell,
)
from recipes.core.replicas.terms import TERM, stored_term, term_cell


def cells(term, vote=b"0 -1"):
    return {TERM: b"%d" % term, VOTE: vote}


def test_term_and_vote_come_back_as_they_were_stored():
    assert stored_term({TERM: term_cell(7).value}) == 7
    for candidate in (3, NOBODY, ABSTAINS):
        assert stored_vote({VOTE: vote_cell(Vote(7, candidate)).value}) == (7, candidate)


def test_a_server_without_cells_has_no_term_and_no_vote_yet():
    assert settle_terms({}, {}, 0) == {name: values[0] for name, values in FIRST_VALUES.items()}


def test_the_data_of_a_standalone_server_begin_in_the_epoch_of_their_log():
    assert settle_terms({}, {}, 5 << 32 | 3)[TERM] == b"5"
    assert settle_terms({VOTE: b"0 -1"}, {}, 5 << 32 | 3)[TERM] == b"5"  # a crash came between the two cells


def test_what_was_stored_stays():
    for stored in (cells(4), cells(4, b"4 2"), cells(4, b"2 -2")):
        assert settle_terms(stored, {TERM: b"9", VOTE: b"9 9"}, 3 << 32 | 1) == stored
        assert settle_terms(stored, {}, -1) == stored


@pytest.mark.parametrize(
    ("stored", "last_zxid", "names"),
    [
        ({TERM: b"4"}, 0, "raftVote is missing"),
        (cells(4, b"5 1"), 0, "acceptedEpoch is 4"),
        (cells(4), 5 << 32 | 1, "acceptedEpoch is 4"),
        (cells(4, b"nobody"), 0, "raftVote: expected a term and a server, found b'nobody'"),
        (cells(4, b"-1 2"), 0, "raftVote: expected"),
        ({TERM: b"four", VOTE: b"0 -1"}, 0, "acceptedEpoch: expected a term, found b'four'"),
    ],
)
def test_cells_that_cannot_be_right_are_refused(stored, last_zxid, names):
    with pytest.raises(DiskError, match=names):
        settle_terms(stored, {}, last_zxid)
