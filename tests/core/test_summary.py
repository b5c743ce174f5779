"""Summaries of many values, against the values themselves."""

from random import Random

import pytest

from recipes.core.summary import Summary


def summary_of(values):
    made = Summary()
    for value in values:
        made.add(value)
    return made


@pytest.mark.parametrize("seed", range(5))
def test_a_summary_is_that_of_its_values(seed):
    random = Random(seed)
    values = [int(random.expovariate(1 / 10 ** random.randrange(1, 6))) for _ in range(1000)]
    made = summary_of(values)
    assert (made.count, made.total, made.least, made.most) == (1000, sum(values), min(values), max(values))
    assert made.average == round(sum(values) / 1000, 4)
    for share in (0.001, 0.5, 0.9, 0.99, 0.999, 1):
        right = sorted(values)[max(0, round(share * 1000) - 1)]
        assert 0.98 * right <= made.percentile(share) <= right


def test_without_values_all_is_zero():
    made = Summary()
    assert (made.count, made.total, made.least, made.most, made.average, made.percentile(0.5)) == (0, 0, 0, 0, 0.0, 0)


def test_a_clock_that_was_set_back_counts_as_no_time():
    assert summary_of([-5]).total == 0


def test_what_was_left_out_is_put_in_and_the_original_stays():
    made = summary_of([3, 5])
    full = made.completed(4, rest=1)
    assert (full.count, full.total, full.least, full.most, full.percentile(0.5)) == (4, 10, 1, 5, 1)
    assert (made.count, made.total, made.least) == (2, 8, 3)
    assert made.completed(1).count == 2
    assert made.completed(2, total=9).total == 9


def test_two_are_merged():
    made = summary_of([4]).merged(summary_of([2, 900]))
    assert (made.count, made.total, made.least, made.most, made.percentile(0.5)) == (3, 906, 2, 900, 4)
    assert Summary().merged(summary_of([7])).least == 7
