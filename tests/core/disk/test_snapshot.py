"""Snapshots against Apache's bytes, damage, and a tree that changes while it is written."""

from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from random import Random

import pytest

from recipes.core.disk import snapshot as module
from recipes.core.disk.snapshot import dump_tree, is_whole, read_snapshot, seal_body, write_snapshot
from recipes.core.errors import DiskError
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import write_acl
from recipes.core.jute.txns import Txn
from recipes.core.tree.acl import OPEN_ACL, permits
from recipes.core.tree.digest import node_digest
from recipes.core.tree.tree import DataTree
from tests.seeds import seeds

READ_ONLY = ((1, b"world", b"anyone"),)
SOMEBODY = ((31, b"digest", b"bob:secret"),)


def shown(tree: DataTree) -> dict[bytes, tuple[object, ...]]:
    return {
        path: (
            node.data, node.acl, node.czxid, node.mzxid, node.pzxid, node.ctime, node.mtime, node.version,
            node.cversion, node.aversion, node.owner, sorted(node.children.paths() if node.children else ()),
        )
        for path, node in tree.items()
    }  # fmt: skip


def assert_same(found: DataTree, expected: DataTree) -> None:
    assert shown(found) == shown(expected)
    assert found.sessions == expected.sessions
    assert {owner: set(paths) for owner, paths in found.ephemerals.items()} == {
        owner: set(paths) for owner, paths in expected.ephemerals.items()
    }
    assert found.containers.keys() == expected.containers.keys()
    assert found.ttls.keys() == expected.ttls.keys()
    assert found.digest == expected.digest
    assert found.data_bytes == expected.data_bytes


def test_apaches_snapshot_is_read(apache_snapshot: bytes):
    assert len(apache_snapshot) == 753
    tree = DataTree()
    assert read_snapshot("snapshot.100000006", apache_snapshot, tree) == (0x1_00000006, 0x2804F62A8)
    assert tree.digest == 0x2804F62A8
    assert tree.sessions == {0x100000000000001: 30000}
    assert sorted(dict(tree.items())) == [
        b"/", b"/py", b"/py/c", b"/py/d", b"/zookeeper", b"/zookeeper/config", b"/zookeeper/quota",
    ]  # fmt: skip
    py = tree.find(b"/py")
    assert (py.data, py.version, py.cversion, py.czxid, py.mzxid) == (b"v5", 2, 2, 0x1_00000002, 0x1_00000005)
    assert py.children.paths() == [b"/py/c", b"/py/d"]
    assert tree.find(b"/zookeeper/config").acl == READ_ONLY


def test_apaches_snapshot_written_by_us_says_the_same(apache_snapshot: bytes):
    tree = DataTree()
    read_snapshot("snapshot.100000006", apache_snapshot, tree)
    tree.last_zxid = 0x1_00000006
    again = DataTree()
    written = b"".join(write_snapshot(tree))
    assert read_snapshot("snapshot.100000006", written, again) == (0x1_00000006, 0x2804F62A8)
    assert_same(again, tree)


def test_cut_at_every_length_it_is_refused(apache_snapshot: bytes):
    base = apache_snapshot.index(bytes.fromhex("ace358b1")) + 9  # 3.5 and older end here, without a digest
    for size in range(len(apache_snapshot)):
        if size == base:
            assert read_snapshot("snapshot.1", apache_snapshot[:size], DataTree()) is None
            continue
        with pytest.raises(DiskError, match=r"snapshot\.1"):
            read_snapshot("snapshot.1", apache_snapshot[:size], DataTree())


def test_every_byte_flipped_is_refused(apache_snapshot: bytes):
    for offset in range(len(apache_snapshot)):
        for bits in (0x01, 0x80, 0xFF):
            rotten = bytearray(apache_snapshot)
            rotten[offset] ^= bits
            with pytest.raises(DiskError, match=r"snapshot\.1"):
                read_snapshot("snapshot.1", bytes(rotten), DataTree())


def test_random_bytes_are_refused():
    chance = Random(1)
    for size in range(300):
        with pytest.raises(DiskError):
            read_snapshot("snapshot.1", module.HEADER + chance.randbytes(size) + module.TAIL, DataTree())


def test_a_snapshot_without_its_end_is_not_whole(apache_snapshot: bytes):
    assert is_whole(apache_snapshot)
    assert not is_whole(apache_snapshot[:-1])
    assert not is_whole(b"")


@dataclass
class History:
    """Random txns on a tree, as a server would make them."""

    chance: Random
    tree: DataTree = field(default_factory=DataTree)
    txns: list[Txn] = field(default_factory=list)
    sessions: int = 0

    def step(self) -> None:
        zxid = self.tree.last_zxid + 1
        session, kind, record = self._draw(zxid)
        txn = (session, zxid, zxid, 1_700_000_000_000 + zxid, kind, record)
        self.tree.apply(txn)
        self.txns.append(txn)

    def _draw(self, zxid: int) -> tuple[int, int, tuple[object, ...]]:
        chance, tree = self.chance, self.tree
        mine = [path for path, _ in tree.items() if not path.startswith(b"/zookeeper")]
        path = chance.choice(mine)
        node = tree.find(path)
        what = chance.randrange(20)
        if what < 8:
            parent = chance.choice([path for path in mine if tree.find(path).owner == 0])
            name = parent.rstrip(b"/") + b"/" + b"abcdef"[(at := chance.randrange(6)) : at + 1]
            if name in dict(tree.items()):
                return 1, op.ERROR, (-110,)
            version = tree.find(parent).cversion + 1
            acl = chance.choice((OPEN_ACL, READ_ONLY, SOMEBODY, ((1 + chance.randrange(30), b"ip", b"::%d" % zxid),)))
            data = chance.choice((None, b"", b"data %d" % zxid))
            session = chance.choice([0, *tree.sessions])
            if what == 0:
                return 1, op.CREATE_CONTAINER, (name, data, acl, version)
            if what == 1:
                return 1, op.CREATE_TTL, (name, data, acl, version, 60_000)
            return session, op.CREATE, (name, data, acl, session != 0, version)
        if what < 12 and path != b"/" and not node.children:
            return 1, op.DELETE, (path,)
        if what < 14:
            return 1, op.SET_DATA, (path, b"set %d" % zxid, node.version + 1)
        if what < 16:
            return 1, op.SET_ACL, (path, ((chance.randrange(32), b"ip", b"::%d" % zxid),), node.aversion + 1)
        if what == 16:
            self.sessions += 1
            return self.sessions, op.CREATE_SESSION, (30_000,)
        if what == 17 and tree.sessions:
            closing = chance.choice(list(tree.sessions))
            return closing, op.CLOSE_SESSION, (tuple(tree.ephemerals.get(closing, ())),)
        inner = ((op.SET_DATA, (path, b"multi", node.version + 1)), (op.CHECK, (path, node.version + 2)))
        return 1, op.MULTI, inner


@pytest.mark.parametrize("seed", seeds(60, quick=20))
def test_written_while_the_tree_changes_and_replayed_it_is_the_tree(seed: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_SLICE_NODES", 3)
    history = History(Random(seed))
    for _ in range(150):
        history.step()
    start = history.tree.last_zxid
    chunks = []
    for chunk in write_snapshot(history.tree):
        chunks.append(chunk)
        for _ in range(history.chance.randrange(12)):
            history.step()
    recovered = DataTree()
    digest = read_snapshot(f"snapshot.{start:x}", b"".join(chunks), recovered)
    assert digest is not None and start <= digest[0] <= history.tree.last_zxid
    for txn in history.txns[start:]:
        recovered.apply(txn)
        if txn[2] == digest[0]:
            assert recovered.digest == digest[1]
    assert_same(recovered, history.tree)
    total = sum(node_digest(path, node) for path, node in recovered.items())
    assert recovered.digest == total % (1 << 64)


def test_a_slice_is_bounded(monkeypatch: pytest.MonkeyPatch):
    tree = DataTree()
    for number in range(1, 2001):
        tree.apply((0, 0, number, 0, op.CREATE, (b"/n%d" % number, b"x" * 100, OPEN_ACL, False, number)))
    sizes = [len(chunk) for chunk in write_snapshot(tree)]
    assert max(sizes) < 200 * module._SLICE_NODES
    assert len(sizes) > 2000 // module._SLICE_NODES


@pytest.mark.parametrize("seed", seeds(40, quick=8))
def test_whatever_follows_whatever_the_tree_is_as_if_each_znode_were_loaded_alone(seed: int):
    """Paths come twice, the root as well; with and without children, owner, data, an ACL, and changes."""
    random, expected = Random(seed), DataTree()
    expected.clear()
    known, parts = [b""], []
    for _ in range(60):
        path = random.choice(known) + b"/%d" % random.randrange(6) if random.randrange(12) else random.choice(known)
        if path.startswith(b"/zookeeper"):
            continue
        numbers = [7, 7, 1000, 1000, 0, 0, 0, 7]
        if not random.randrange(3):
            numbers[random.randrange(8)] = 9
        owner = 0x100 if path and not random.randrange(8) else 0
        data = random.choice((None, b"", b"x", b"some more"))
        key = random.choice((-1, -1, -1, 1))
        acl = module.OPEN_ACL if key == -1 else SOMEBODY
        expected.load(path or b"/", data, acl, owner, tuple(numbers))
        fields = module._PERSISTED.pack(key, *numbers[:7], owner, numbers[7])
        parts.append(module.write_buffer(path) + module.write_buffer(data) + fields)
        known += [] if owner else [path]
    head = module.pack_int(0) + module.pack_int(1) + module.pack_long(1) + write_acl(SOMEBODY)
    found = DataTree()
    read_snapshot("snapshot.7", seal_body(head + b"".join(parts) + module.TAIL), found)
    assert_same(found, expected)
    assert (found.digest, found.count, found.data_bytes) == (expected.digest, expected.count, expected.data_bytes)
    assert found.packed == expected.packed


def test_until_replay_sets_an_acl_nobody_is_let_in(monkeypatch: pytest.MonkeyPatch):
    tree = DataTree()
    tree.apply((0, 0, 1, 0, op.CREATE, (b"/a", b"", OPEN_ACL, False, 1)))
    chunks = write_snapshot(tree)
    data = next(chunks)
    tree.apply((0, 0, 2, 0, op.SET_ACL, (b"/a", SOMEBODY, 1)))
    found = DataTree()
    read_snapshot("snapshot.1", data + b"".join(chunks), found)
    assert all(perms == 0 for perms, _, _ in found.find(b"/a").acl)


def test_an_acl_that_zookeeper_wrote_no_more_comes_with_the_replay():
    tree = DataTree()
    tree.apply((0, 0, 1, 0, op.CREATE, (b"/a", b"", SOMEBODY, False, 1)))
    body, known = b"".join(dump_tree(tree)), write_acl(SOMEBODY)
    at = body.index(known) - 8  # its key
    count = int.from_bytes(body[4:8], "big")
    body = body[:4] + (count - 1).to_bytes(4, "big") + body[8:at] + body[at + 8 + len(known) :]
    found = DataTree()
    read_snapshot("snapshot.1", seal_body(body), found)
    assert not permits(found.find(b"/a").acl, 31, ())
    found.apply((0, 0, 1, 0, op.CREATE, (b"/a", b"", SOMEBODY, False, 1)))
    assert found.find(b"/a").acl == SOMEBODY


def test_znodes_that_are_deleted_and_created_anew_are_written_as_they_were_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
):
    """Between any two slices. What is created anew is in the log; a child without its parent could not be read."""
    monkeypatch.setattr(module, "_SLICE_NODES", 1)

    def apply(kind: int, *record: object) -> None:
        tree.apply((0, 0, tree.last_zxid + 1, 0, kind, record))

    def create() -> None:
        apply(op.CREATE, b"/p", b"", OPEN_ACL, False, 1)
        apply(op.CREATE, b"/p/c", b"", OPEN_ACL, False, 1)

    found_so: set[tuple[bytes, ...]] = set()
    for gone_at, back_at in combinations_with_replacement(range(9), 2):
        tree = DataTree()
        create()
        chunks = []
        for at, chunk in enumerate(write_snapshot(tree)):
            chunks.append(chunk)
            if at == gone_at:
                apply(op.DELETE, b"/p/c")
                apply(op.DELETE, b"/p")
            if at == back_at:
                create()
        found = DataTree()
        read_snapshot("snapshot.2", b"".join(chunks), found)
        written = {path: node.czxid for path, node in found.items() if path.startswith(b"/p")}
        assert written.items() <= {b"/p": 1, b"/p/c": 2}.items(), (gone_at, back_at)
        found_so.add(tuple(sorted(written)))
    assert found_so == {(), (b"/p",), (b"/p", b"/p/c")}


def test_an_acl_that_a_znode_gets_while_a_snapshot_is_written_is_in_the_next_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_SLICE_NODES", 2)
    mine = ((31, b"digest", b"user:x"),)
    tree = DataTree()
    tree.apply((1, 1, 1, 1, op.CREATE, (b"/old", b"", mine, False, 1)))
    tree.apply((1, 2, 2, 1, op.DELETE, (b"/old",)))
    written = write_snapshot(tree)
    next(written)
    tree.apply((1, 3, 3, 1, op.CREATE, (b"/new", b"", mine, False, 2)))
    assert b"".join(written)
    found = DataTree()
    read_snapshot("snapshot.3", b"".join(write_snapshot(tree)), found)
    assert found.find(b"/new").acl == mine


def test_a_snapshot_forgets_the_acls_no_znode_has():
    tree = DataTree()
    for number in range(50):
        tree.apply((1, 1, number + 1, 1, op.SET_ACL, (b"/", ((31, b"digest", b"user%d:x" % number),), number)))
    assert len(tree.acls) > 50
    data = b"".join(write_snapshot(tree))
    assert len(tree.acls) == 3  # world's two, and the last
    found = DataTree()
    read_snapshot("snapshot.32", data, found)
    assert_same(found, tree)
