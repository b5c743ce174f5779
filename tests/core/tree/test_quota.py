import pytest

from recipes.core.codes import NO_AUTH
from recipes.core.disk.snapshot import dump_tree
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import write_buffer
from recipes.core.jute.records import ACL, Id, write_acl
from recipes.core.jute.requests import encode_create, encode_path_version, encode_set_acl, encode_set_data
from recipes.core.member.reads import Failed, exists, get_children, get_data, plain_get
from recipes.core.tree import quota
from recipes.core.tree.acl import OPEN_ACL
from recipes.core.tree.pending import UnderWay
from recipes.core.tree.prepare import Preparer
from recipes.core.tree.quota import Quotas, parse
from recipes.core.tree.request import Request
from recipes.core.tree.sessions import SessionTracker
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


def test_f11_a_large_subtree_is_counted_in_slices_beside_its_changes(monkeypatch):
    monkeypatch.setattr(quota, "_AT_ONCE", 2)
    tree = DataTree()
    for path in (b"/a", b"/a/b", b"/a/b/c", b"/a/d", b"/a/e"):
        put(tree, path, b"12")
    put(tree, LIMITS % b"/a", b"count=100,bytes=-1")
    put(tree, STATS % b"/a", b"count=0,bytes=0")
    counting = tree.quotas.counting[b"/a"]
    assert list(counting.counted) == [b"/a", b"/a/e"]
    changes = [
        (op.SET_DATA, (b"/a/e", b"1234", 1)),  # counted: + 2
        (op.SET_DATA, (b"/a/d", b"1", 1)),  # not yet counted: it will be found so
        (op.CREATE, (b"/a/new", b"123", OPEN_ACL, False, -1)),  # of a counted parent: it would not be found
        (op.CREATE, (b"/a/b/new", b"1234", OPEN_ACL, False, -1)),  # of one that is not counted: it will be found
        (op.DELETE, (b"/a/new",)),
        (op.CREATE, (b"/a/new", b"1", OPEN_ACL, False, -1)),
        (op.DELETE, (b"/a/b/c",)),
        (op.DELETE, (b"/a/d",)),
    ]
    for zxid, (kind, record) in enumerate(changes, 2):
        assert tree.apply((0, 0, zxid, 0, kind, record))[0] == 0
    assert usage(tree) == b"count=0,bytes=0"
    slices = 0
    while tree.quotas.counting:
        tree.quotas.count_some(tree.nodes, 1)
        slices += 1
    assert slices > 2
    assert usage(tree) == b"count=5,bytes=13"  # /a 2, /a/e 4, /a/new 1, /a/b 2, /a/b/new 4
    tree.apply((0, 0, 99, 0, op.DELETE, (b"/a/new",)))
    assert usage(tree) == b"count=4,bytes=12"


def test_f11_a_count_ends_with_its_stats(tree, monkeypatch):
    monkeypatch.setattr(quota, "_AT_ONCE", 0)
    put(tree, LIMITS % b"/b")
    put(tree, STATS % b"/b")
    assert tree.quotas.counting
    tree.apply((0, 0, 9, 0, op.DELETE, (STATS % b"/b",)))
    assert not tree.quotas.counting


OWNER, STRANGER = ((b"digest", b"me:x"),), ((b"digest", b"you:x"),)
SECRET = ((31, b"digest", b"me:x"),)


@pytest.mark.parametrize(("ids", "refused"), [(OWNER, False), (STRANGER, True), ((), True)])
@pytest.mark.parametrize("under_way", [True, False])
def test_f11_a_quota_shows_and_limits_a_subtree_only_to_those_who_may(ids, refused, under_way):
    tree = DataTree()
    tree.apply((0, 0, 1, 0, op.CREATE, (b"/secret", b"", SECRET, False, 1)))
    tracker = SessionTracker(1000)
    tracker.add(7, 1000, 0)
    preparer = Preparer(tree, tracker)

    def ask(kind, body):
        entry = preparer.prepare(Request(7, 1, kind, body, ids), 0)
        if not under_way:
            tree.apply(entry.txn, entry.digest)
            preparer.applied(entry.zxid)
        return entry.txn[5][0] == NO_AUTH if entry.txn[4] == op.ERROR else False

    everybody = [ACL(31, Id("world", "anyone"))]
    for path in (b"/zookeeper/quota/secret", LIMITS % b"/secret", STATS % b"/secret"):
        assert ask(op.CREATE, encode_create(path, b"", everybody, 0)) == refused
        if refused:  # somebody else has made it
            tree.apply((0, 0, preparer.last_zxid, 0, op.CREATE, (path, b"", OPEN_ACL, False, -1)))
    for path in (LIMITS % b"/secret", STATS % b"/secret"):
        assert ask(op.SET_DATA, encode_set_data(path, b"countHardLimit=0", -1)) == refused
        assert ask(op.SET_ACL, encode_set_acl(path, everybody, -1)) == refused
        assert ask(op.SET_DATA, encode_set_data(path, b"countHardLimit=0", -1)) == refused
        assert ask(op.CHECK, encode_path_version(path, -1)) == refused
    for path in (STATS % b"/secret", b"/zookeeper/quota/secret"):
        node = tree.nodes.get(path)
        if node is not None:
            read = write_buffer(path) + b"\0"
            assert (plain_get(tree, 1, read, ids) is None) == refused
            if refused:
                for ask_for in (get_data, exists, get_children):
                    with pytest.raises(Failed):
                        ask_for(tree, None, ids, read)
    assert ask(op.DELETE, encode_path_version(STATS % b"/secret", -1)) == refused


def test_f11_an_open_subtree_has_quotas_for_everybody_and_acls_stay_shared():
    tree = DataTree()
    put(tree, b"/open")
    put(tree, STATS % b"/open", b"count=0,bytes=0")
    assert plain_get(tree, 1, write_buffer(STATS % b"/open") + b"\0", ()) is not None
    before = list(dump_tree(tree))
    assert tree.acls.intern(tuple(list(OPEN_ACL))) is OPEN_ACL
    assert tree.nodes[b"/open"].acl is OPEN_ACL
    assert write_acl(OPEN_ACL) not in before[0]
