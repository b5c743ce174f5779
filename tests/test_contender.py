import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.line import id_of, in_order, is_owner

START = st.integers(-(2**31), 2**31 - 1)


def name(number: int) -> str:
    return f"_r_{number & 0xFFFF:x}-lock-{(number + 2**31) % 2**32 - 2**31:010d}"


@given(START, st.lists(st.integers(0, 2**31 - 2), unique=True, max_size=20))
def test_order_is_the_order_of_creation_wherever_the_counter_stands(start, steps):
    line = [name(start + step) for step in steps]
    assert in_order(line, "lock-") == [name(start + step) for step in sorted(steps)]


def test_names_of_others_are_not_in_line():
    assert in_order(["x", "_c_1-lock-0000000000", "_r_1-lead-0000000000", "_r_1-lock-", name(3)], "lock-") == [name(3)]


def test_id_of():
    assert id_of("_r_ab-lock--000000001", "lock-") == "ab"


OWNED = {"name": "a", "order": ["a", "b"], "owner": 7, "session_id": 7, "now": 1.0, "expires_at": 2.0}


def test_owner_is_first_alive_and_in_time():
    assert is_owner(**OWNED)


@pytest.mark.parametrize("change", [{"order": ["b", "a"]}, {"order": []}, {"owner": 8}, {"now": 2.0}])
def test_each_condition_counts(change):
    assert not is_owner(**OWNED | change)
