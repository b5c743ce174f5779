import pytest

from benchmarks.report import Point, is_equal, ratio, spread, table, verdict


def test_ratio_is_of_medians_so_one_bad_round_does_not_count():
    assert ratio(Point("get", "ops/s", [40.0, 41.0, 5.0], [10.0, 10.0, 99.0])) == 4.0


def test_spread_is_half_the_range_over_the_median():
    assert spread([90.0, 100.0, 110.0]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("ours", "theirs", "equal"),
    [([9.0, 11.0], [10.0, 12.0], True), ([9.0, 10.0], [10.0, 12.0], True), ([9.0, 9.5], [10.0, 12.0], False)],
)
def test_ranges_that_touch_are_equal(ours, theirs, equal):
    assert is_equal(Point("get", "ops/s", ours, theirs)) is equal
    assert is_equal(Point("get", "ops/s", theirs, ours)) is equal


def test_difference_inside_the_spread_does_not_meet_a_target_above_one():
    noisy = Point("set", "ops/s", [100.0, 160.0, 170.0], [90.0, 100.0, 120.0], target=1.1)
    assert ratio(noisy) == pytest.approx(1.6)
    assert verdict(noisy) == "missed"
    assert "equal (1.60)" in table([noisy])


def test_verdict_follows_the_direction_of_the_target():
    more = Point("get", "ops/s", [50.0], [10.0], target=4.0)
    assert verdict(more) == "met"
    assert verdict(more._replace(target=6.0)) == "missed"
    less = Point("resident", "MiB", [30.0], [60.0], target=0.7, less_is_better=True)
    assert verdict(less) == "met"
    assert verdict(less._replace(target=0.4)) == "missed"
    assert verdict(less._replace(target=None)) == ""


def test_table_is_aligned_and_prints_target_and_peer():
    lines = table(
        [
            Point("get 8x64", "ops/s", [200.0], [50.0], target=4.0),
            Point("start", "s", [0.5], [0.6], target=0.8, less_is_better=True, peer="java"),
        ]
    ).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "get 8x64",
        "ops/s",
        "200",
        "50.00 apache",
        "4.00",
        ">= 4",
        "met",
    ]
    assert "<= 0.8" in lines[3] and "0.60 java" in lines[3]


def test_ceiling_binds_even_where_the_peer_is_slower():
    slow = Point("fail-over", "ms", [450.0], [900.0], target=1.0, less_is_better=True, ceiling=400.0)
    assert verdict(slow) == "missed"
    assert verdict(slow._replace(ours=[390.0])) == "met"
    assert "<= 1, <= 400 ms" in table([slow])
