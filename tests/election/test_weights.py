"""The pure rules of weights and hand-overs."""

import pytest

from recipes.election.weights import appoint, ask, gives_way, in_between, is_asked, outweighed, unmarked, weight_of
from recipes.line import in_order, standing

LIGHT, HEAVY, LATE = "_r_a-lead-0000000001", "_r_b-lead-7-0000000002", "_r_c-lead-3-0000000003"
LINE = [LIGHT, HEAVY, LATE]


def test_a_weight_stands_in_the_name_and_the_order_is_that_of_the_numbers():
    assert [weight_of(name) for name in LINE] == [0, 7, 3]
    assert weight_of("_r_d-lead-7--2147483648") == 7 and weight_of("_r_e-lead--2147483648") == 0
    assert in_order([LATE, HEAVY, LIGHT], "lead-") == LINE
    assert [standing(name, LINE).holds for name in LINE] == [True, False, False]


def test_who_is_outweighed_gives_way_when_it_is_its_turn_and_not_before():
    assert [outweighed(name, LINE) for name in LINE] == [True, False, False]
    assert gives_way(LIGHT, LINE, b"")
    assert not gives_way(LATE, LINE, b"") and not gives_way(HEAVY, LINE[1:], b"")
    assert not gives_way(LATE, [LATE, "_r_d-lead-3-0000000004"], b""), "equals go in order of arrival"
    assert not gives_way("_r_x-lead-0000000009", LINE, b"")


def test_who_was_appointed_gives_way_to_nobody_and_who_was_asked_as_long_as_somebody_asks():
    assert not gives_way(LIGHT, LINE, appoint(b"x"))
    assert not gives_way(LIGHT, LINE, ask(appoint(b"x"))), "somebody that weighs more has asked as its turn came"
    assert gives_way(HEAVY, LINE, ask(appoint(b"x"))), "for another one, which was appointed later"
    assert gives_way(HEAVY, LINE, ask(b"x"))
    assert not gives_way(HEAVY, LINE[1:], ask(b"x")), "who had asked is gone"


def test_marks_are_seen_once_and_taken_off_together():
    assert [unmarked(data) for data in (ask(b"x"), appoint(b"x"), ask(appoint(b"x")), appoint(ask(b"x")))] == [b"x"] * 4
    assert is_asked(ask(appoint(b"x"))) and not is_asked(appoint(ask(b"x")))
    assert ask(ask(b"x")) == ask(b"x")


@pytest.mark.parametrize(("name", "between"), [(HEAVY, []), (LATE, [HEAVY]), ("_r_x-lead-0000000009", [])])
def test_who_is_in_between(name, between):
    assert in_between(name, LINE) == between
