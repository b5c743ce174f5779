import pytest

from recipes.core.errors import DiskError
from recipes.core.paxos.numbers import (
    ACCEPTED,
    FIRST_VALUES,
    FORGOTTEN,
    accepted_cell,
    next_ballot,
    proposer_of,
    settle_numbers,
    stored_accepted,
)
from recipes.core.replicas.terms import TERM


def test_a_ballot_belongs_to_one_server_and_each_is_higher_than_the_last():
    first = next_ballot(0, 3)
    second = next_ballot(first, 1)
    third = next_ballot(second, 3)
    assert first < second < third
    assert [proposer_of(each) for each in (first, second, third)] == [3, 1, 3]
    assert third << 32 < 1 << 63


def test_the_accepted_ballot_comes_back_as_it_was_stored():
    for ballot in (0, 259, FORGOTTEN):
        assert stored_accepted({ACCEPTED: accepted_cell(ballot).value}) == ballot


def test_a_server_without_cells_has_promised_nothing():
    assert settle_numbers({}, {}, 0) == {name: values[0] for name, values in FIRST_VALUES.items()}
    assert settle_numbers({}, {}, 5 << 32 | 3)[TERM] == b"5"


def test_what_was_stored_stays():
    for stored in ({TERM: b"515", ACCEPTED: b"258"}, {TERM: b"515", ACCEPTED: b"-1"}):
        assert settle_numbers(stored, {}, 258 << 32 | 1) == stored


@pytest.mark.parametrize(
    ("stored", "last_zxid", "names"),
    [
        ({TERM: b"258"}, 0, "paxosAccepted is missing"),
        ({TERM: b"258", ACCEPTED: b"515"}, 0, "acceptedEpoch is 258"),
        ({TERM: b"258", ACCEPTED: b"0"}, 515 << 32 | 1, "acceptedEpoch is 258"),
        ({TERM: b"258", ACCEPTED: b"all"}, 0, "paxosAccepted: expected a ballot, found b'all'"),
    ],
)
def test_cells_that_cannot_be_right_are_refused(stored, last_zxid, names):
    with pytest.raises(DiskError, match=names):
        settle_numbers(stored, {}, last_zxid)
