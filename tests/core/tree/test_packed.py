from random import Random

import pytest

from recipes.core.disk.snapshot import read_snapshot, write_snapshot
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import OPEN_ACL
from recipes.core.member.reads import plain_get
from recipes.core.tree.digest import node_digest
from recipes.core.tree.packed import acl_of, data_of, digest_of, numbers_of, open_node, pack_node, size_of, unpack
from recipes.core.tree.tree import RESERVED, DataTree
from recipes.core.tree.znode import ZNode, pack_stat

MINE = ((31, b"digest", b"user:x"),)
FIELDS = (
    "data",
    "acl",
    "czxid",
    "mzxid",
    "pzxid",
    "ctime",
    "mtime",
    "version",
    "cversion",
    "aversion",
    "owner",
    "place",
)
CHANGES = {
    "none": {},
    "set": {"mzxid": 1 << 40, "mtime": 7, "version": -1},
    "back to version 0": {"mzxid": 1 << 40},
    "set in another ms alone": {"mtime": 9},
    "had children": {"pzxid": 9, "cversion": 2},
    "another ACL": {"acl": MINE, "aversion": 1},
    "the open ACL once more": {"aversion": 3},
    "far down": {"place": (1 << 32) - 1},
}


def fields(node):
    return {name: getattr(node, name) for name in FIELDS}


@pytest.mark.parametrize("data", [None, b"", b"x" * 100])
@pytest.mark.parametrize("change", CHANGES)
def test_a_znode_is_the_same_when_it_is_unpacked(change, data):
    acls, node = DataTree().acls, ZNode(data, OPEN_ACL, 5, 6)
    for name, value in CHANGES[change].items():
        setattr(node, name, value)
    node.acl = acls.intern(node.acl)
    record = pack_node(node, 123, acls)
    found = unpack(record, acls)
    assert (fields(found), found.digest, found.children) == (fields(node), 123, None)
    assert found.acl is node.acl
    assert (data_of(record), size_of(record), digest_of(record)) == (data, len(data or b""), 123)
    assert acl_of(record, acls) is node.acl
    assert numbers_of(record)[::7] == (node.czxid, node.pzxid)
    others = ("had children", "another ACL", "the open ACL once more")
    assert open_node(record) == (None if data is None or change in others else (data, pack_stat(node)))


def test_znodes_that_are_read_are_unpacked_up_to_a_limit():
    tree, paths = DataTree(), [b"/%d" % number for number in range(10)]
    tree.most_young = 3
    for zxid, path in enumerate(paths, 1):
        tree.apply((1, 1, zxid, 1000, op.CREATE, (path, b"x", OPEN_ACL, False, zxid)))
    tree.pack_some(10)
    assert len(tree.packed) == 7
    replies = [plain_get(tree, 1, b"\0\0\0\2" + path + b"\0", ()) for path in paths * 2]
    assert replies[:10] == replies[10:] and all(replies)
    assert [path for path in tree.packed if path in tree.nodes] == paths[:3]


def steps(random, count):
    """Txns on few paths: nearly every way to go from packed to unpacked and back."""
    paths = [b"/a", b"/b", b"/a/a", b"/a/b", b"/b/a"]
    for zxid in range(1, count):
        path, ephemeral = random.choice(paths), random.random() < 0.1
        acl = random.choice([OPEN_ACL, OPEN_ACL, MINE, ((1, b"world", b"anyone"), (zxid, b"digest", b"u:%d" % zxid))])
        data = random.choice([None, b"", b"%d" % zxid])
        yield random.choice(
            [
                (1, zxid, zxid, 2 * zxid, op.CREATE, (path, data, acl, ephemeral, -1)),
                (1, zxid, zxid, 2 * zxid, op.CREATE, (path, data, acl, False, -1)),
                (1, zxid, zxid, 2 * zxid, op.SET_DATA, (path, data, zxid)),
                (1, zxid, zxid, 2 * zxid, op.SET_ACL, (path, acl, zxid)),
                (1, zxid, zxid, 2 * zxid, op.DELETE, (path,)),
                (1, zxid, zxid, 2 * zxid, op.CLOSE_SESSION, ((),)),
            ]
        )


def shape(tree):
    nodes = {path: fields(node) | {"place": 0} for path, node in tree.items()}
    children = {path: sorted(tree.children_names(path)) for path in nodes}
    return nodes, children, tree.digest, tree.count, tree.data_bytes, tree.ephemerals


def allowed(tree, txn):
    """Whether a server would have made it: it deletes nothing that has children, and gives a session's znode none."""
    kind, path = txn[4], txn[5][0] if txn[4] != op.CLOSE_SESSION else None
    if kind == op.DELETE:
        return not tree.children_names(path)
    parent = tree.find(path.rpartition(b"/")[0] or b"/") if path else None
    return kind != op.CREATE or parent is None or parent.owner == 0


@pytest.mark.parametrize("seed", range(20))
def test_a_tree_is_the_same_however_few_of_its_znodes_are_unpacked(seed):
    random, plain, tight = Random(seed), DataTree(), DataTree()
    tight.most_young = random.randrange(3)
    packed = 0
    for txn in steps(random, 400):
        if not allowed(plain, txn):
            continue
        assert tight.apply(txn)[0] == plain.apply(txn)[0]
        tight.pack_some(random.randrange(3))
        packed = max(packed, len(tight.packed))
        if random.random() < 0.1:
            assert shape(tight) == shape(plain)
            assert tight.digest == sum(node_digest(path, node) for path, node in tight.items()) % (1 << 64)
        if random.random() < 0.05:  # which also drops the ACLs that no znode has
            found = DataTree()
            read_snapshot("snapshot", b"".join(write_snapshot(tight)), found)
            assert shape(found)[:-1] == shape(plain)[:-1]
    assert packed > 0


def test_znodes_are_packed_in_the_order_of_their_last_change():
    tree = DataTree()
    tree.most_young = 2
    for zxid in range(1, 6):
        tree.apply((1, zxid, zxid, 1, op.CREATE, (b"/%d" % zxid, b"x", OPEN_ACL, False, -1)))
    tree.pack_some(2)
    assert list(tree.packed) == [b"/1", b"/2"]
    tree.apply((1, 6, 6, 1, op.SET_DATA, (b"/1", b"y", 1)))
    assert tree.find(b"/1").data == b"y"
    tree.pack_some(9)
    assert [path for path in tree.nodes if path not in RESERVED] == [b"/5", b"/1"]


def test_znodes_are_packed_as_txns_go_on():
    tree = DataTree()
    tree.most_young = 0
    parts = tuple((op.CREATE, (b"/%d" % at, b"", OPEN_ACL, False, -1)) for at in range(1000))
    tree.apply((1, 1, 1, 1, op.MULTI, parts))
    tree.apply((1, 127, 127, 1, op.CREATE, (b"/one", b"", OPEN_ACL, False, -1)))
    assert b"/one" in tree.nodes
    tree.apply((1, 128, 128, 1, op.ERROR, (-1,)))
    assert len(tree.nodes) == 4 and len(tree.packed) == 1001
