import pytest

from benchmarks.comparison import Comparison, Effort, Side

EFFORT = Effort(rounds=3, seconds=1, warm_seconds=1, idle_seconds=1, kills=1)


@pytest.fixture
def comparison(no_generator, tmp_path):
    return Comparison(["ours", "apache", "etcd"], tmp_path, EFFORT)


def test_who_goes_first_alternates(comparison):
    order: list[Side] = []
    comparison.alternate(lambda side: order.append(side))
    assert [side.kind for side in order] == [
        *("ours", "apache", "etcd"),
        *("etcd", "apache", "ours"),
        *("ours", "apache", "etcd"),
    ]


def test_values_stay_with_their_side_whatever_the_order(comparison):
    assert comparison.alternate(lambda side: side.kind) == [["ours"] * 3, ["apache"] * 3, ["etcd"] * 3]


def test_target_binds_against_apache_only(comparison):
    points = comparison.pair("set", "ops/s", [[3.0], [1.0], [9.0]], 2.0)
    assert [(point.peer, point.theirs, point.target) for point in points] == [
        ("apache", [1.0], 2.0),
        ("etcd", [9.0], None),
    ]


def test_only_takes_a_part_whole_and_otherwise_rows_by_their_name(comparison):
    comparison.choose("wire", None)
    assert comparison.wanted("set 8x64 hot")
    comparison.choose("wire", ["wire"])
    assert comparison.wanted("set 8x64 hot")
    comparison.choose("start", ["wire"])
    assert not comparison.wanted("start to first write")
    comparison.choose("wire", ["8x64"])
    assert comparison.wanted("set 8x64 hot") and not comparison.wanted("set 1x1 hot")
    assert comparison.row("set 1x1 hot", "ops/s", lambda side: pytest.fail("was not asked for")) == []
