"""What several updates make of the data: pure, against a model."""

from hypothesis import given
from hypothesis import strategies as st

from recipes.update import apply_in_order


def adding(n):
    return lambda data: (b"%d" % (int(data) + n), (int(data), int(data) + n))


def comparing(expected, new):
    return lambda data: (b"%d" % new, True) if int(data) == expected else (data, False)


def failing(data):
    raise ValueError(data)


numbers = st.integers(-3, 3)
asked = st.one_of(
    st.tuples(st.just("add"), numbers),
    st.tuples(st.just("compare"), numbers, numbers),
    st.tuples(st.just("fail")),
)


@given(numbers, st.lists(asked))
def test_each_sees_what_the_one_before_made(start, updates):
    made = {"add": adding, "compare": comparing, "fail": lambda: failing}
    data, outcomes = apply_in_order(b"%d" % start, [made[name](*rest) for name, *rest in updates])
    value = start
    for (name, *rest), outcome in zip(updates, outcomes, strict=True):
        if name == "add":
            assert outcome == ((value, value + rest[0]), None)
            value += rest[0]
        elif name == "compare":
            assert outcome == (value == rest[0], None)
            value = rest[1] if value == rest[0] else value
        else:
            assert outcome.told is None and isinstance(outcome.error, ValueError)
            assert outcome.error.args == (b"%d" % value,)
    assert int(data) == value
