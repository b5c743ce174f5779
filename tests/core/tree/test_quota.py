import pytest

from recipes.core.tree.acl import OPEN_ACL
from recipes.core.tree.pending import UnderWay
from recipes.core.tree.quota import Quotas, parse
from recipes.core.tree.tree import DataTree
from recipes.core.tree.znode import ZNode

LIMITS = b"/zookeeper/quota%s/zookeeper_limits"
STATS = b"/zookeeper/quota%s/zookeeper_stats"


def put(tree, path, data=b""):
    """A znode and what Quotas hears of it, as a create does; missing parents come first."""
    parent = path.rpartition(b"/")[0]
    if parent and parent not in tree.nodes:
        put(tree, parent)
    node = ZNode(data, OPEN_ACL, 1, 1)
    tree.add_node(path, node)
    tree.quotas.created(tree.nodes, path, node)


@pytest.fixture
def tree():
    """/a with a limit of 3 znodes and 10 bytes; /b without."""
    tree = DataTree()
    put(tree, b"/a", b"12345")
    put(tree, b"/b")
    put(tree, LIMITS % b"/a", b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=3")
    put(tree, STATS % b"/a", b"count=0,bytes=0")
    return tree


def usage(tree, root=b"/a"):
    return tree.nodes[STATS % root].data


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        (b"count=5,bytes=10", (5, 10, -1, -1)),
        (b"count=5,bytes=10=;byteHardLimit=20;countHardLimit=7", (5, 10, 20, 7)),
        (b"count=5;;bytes=10,,countHardLimit=7", (5, 10, -1, 7)),
        (b"bytes=-1", (-1, -1, -1, -1)),
        (None, (-1, -1, -1, -1)),
        (b"", (-1, -1, -1, -1)),
        (b"other=3,count", (-1, -1, -1, -1)),
        (b"count=--5,bytes=10", (-1, 10, -1, -1)),
        (b"count=" + b"9" * 5000, (-1, -1, -1, -1)),  # more digits than int() takes
        (b"count=\xff", (-1, -1, -1, -1)),
    ],
)
def test_parse_reads_what_it_can_and_never_raises(data, numbers):
    assert tuple(parse(data).values()) == numbers


def test_no_quotas_limit_nothing():
    assert not Quotas().active
    assert Quotas().root_of(b"/a/b") is None


def test_root_is_the_nearest_limited_path_at_or_above(tree):
    put(tree, LIMITS % b"/a/deep", b"count=1")
    roots = {path: tree.quotas.root_of(path) for path in (b"/", b"/a", b"/a/x", b"/ab", b"/a/deep", b"/a/deep/er/x")}
    assert roots == {
        b"/": None,
        b"/a": b"/a",
        b"/a/x": b"/a",
        b"/ab": None,
        b"/a/deep": b"/a/deep",
        b"/a/deep/er/x": b"/a/deep",
    }


def test_creating_the_stats_overwrites_them_with_the_usage(tree):
    assert usage(tree) == b"count=1,bytes=5"


def test_usage_follows_every_change_below_the_root_only(tree):
    put(tree, b"/a/x", b"abc")
    put(tree, b"/b/x", b"abc")
    assert usage(tree) == b"count=2,bytes=8"
    tree.quotas.changed(tree.nodes, b"/a/x", b"abc", b"a")
    tree.quotas.changed(tree.nodes, b"/b/x", b"abc", b"a")
    assert usage(tree) == b"count=2,bytes=6"
    tree.quotas.changed(tree.nodes, b"/a/x", b"a", None)
    tree.quotas.deleted(tree.nodes, b"/a/x", ZNode(None, OPEN_ACL, 1, 1))
    assert usage(tree) == b"count=1,bytes=5"


def test_usage_changes_nothing_else_of_the_stats(tree):
    node = tree.nodes[STATS % b"/a"]
    before = (node.mzxid, node.version, node.mtime)
    put(tree, b"/a/x")
    assert (node.mzxid, node.version, node.mtime) == before


@pytest.mark.parametrize(
    ("count", "size", "too_much"),
    [(1, 5, False), (2, 0, False), (3, 0, True), (1, 6, True), (0, 6, True), (0, 5, False), (-1, -5, False)],
)
def test_hard_limits_may_be_reached_but_not_passed(tree, count, size, too_much):
    assert tree.quotas.exceeds(tree.nodes, b"/a", count, size) is too_much


def test_over_a_lowered_limit_data_must_shrink_enough(tree):
    tree.nodes[LIMITS % b"/a"].data = b"countHardLimit=0,byteHardLimit=2"
    assert tree.quotas.exceeds(tree.nodes, b"/a", 1, 0)
    assert not tree.quotas.exceeds(tree.nodes, b"/a", 0, 0)
    assert tree.quotas.exceeds(tree.nodes, b"/a", 0, -2)  # 3 are left: as in ZooKeeper
    assert not tree.quotas.exceeds(tree.nodes, b"/a", 0, -3)


def test_without_its_stats_a_limit_refuses_nothing(tree):
    del tree.nodes[STATS % b"/a"]
    assert not tree.quotas.exceeds(tree.nodes, b"/a", 100, 100)


def test_who_writes_the_stats_sets_the_usage(tree):
    tree.nodes[STATS % b"/a"].data = b"count=7,bytes=-4"
    put(tree, b"/a/x", b"abc")
    assert usage(tree) == b"count=8,bytes=-1"


def test_limits_set_again_do_not_count_anew(tree):
    tree.quotas.deleted(tree.nodes, LIMITS % b"/a", tree.nodes[LIMITS % b"/a"])
    put(tree, b"/a/x", b"abc")
    put(tree, LIMITS % b"/a", b"count=9")
    assert usage(tree) == b"count=1,bytes=5"
    put(tree, STATS % b"/a")
    assert usage(tree) == b"count=2,bytes=8"


def test_what_is_under_way_counts_until_it_is_applied_or_undone(tree):
    ahead = UnderWay()
    ahead.add(1, b"/a", 1, 5)
    ahead.add(2, b"/a", 1, 0)
    assert tree.quotas.exceeds(tree.nodes, b"/a", 1, 0, ahead.of(b"/a"))
    ahead.undo(2)
    assert ahead.of(b"/a") == (1, 5)
    assert not tree.quotas.exceeds(tree.nodes, b"/a", 1, 0, ahead.of(b"/a"))
    ahead.add(2, b"/a", 0, -5)
    ahead.applied(1)
    assert ahead.of(b"/a") == (0, -5)
    ahead.applied(2)
    assert ahead.of(b"/a") == (0, 0)


def test_soft_limits_refuse_nothing(tree):
    tree.nodes[LIMITS % b"/a"].data = b"count=1,bytes=1"
    assert not tree.quotas.exceeds(tree.nodes, b"/a", 100, 100)


def test_deleting_the_limits_ends_the_quota(tree):
    tree.quotas.deleted(tree.nodes, LIMITS % b"/a", tree.nodes[LIMITS % b"/a"])
    assert not tree.quotas.active
    put(tree, b"/a/x", b"abc")
    assert usage(tree) == b"count=1,bytes=5"


def test_load_finds_the_limits_and_counts_what_is_there(tree):
    put(tree, b"/a/x/y", b"abc")
    tree.nodes[STATS % b"/a"].data = b"count=1,bytes=5"  # as a snapshot wrote it before it came to /a/x
    loaded = Quotas()
    loaded.load(tree.nodes)
    assert loaded.root_of(b"/a/x") == b"/a"
    assert usage(tree) == b"count=3,bytes=8"
    assert loaded.exceeds(tree.nodes, b"/a", 1, 0)
    assert not loaded.exceeds(tree.nodes, b"/a", 0, 2)


def test_limits_are_only_what_is_below_the_quota_znode():
    tree = DataTree()
    put(tree, b"/zookeeper/quotas/a/zookeeper_limits", b"count=1")
    tree.quotas.load(tree.nodes)
    assert not tree.quotas.active
