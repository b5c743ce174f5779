"""What goes with a session is the same whether its znodes go one by one, all at once, or are looked for in slices."""

from random import Random

import pytest

from recipes.core.jute import opcodes as op
from recipes.core.jute.records import ACL, Id
from recipes.core.tree import quota, session_end
from recipes.core.tree.digest import node_digest
from recipes.core.tree.session_end import SessionEnd
from recipes.core.tree.tree import DataTree

OPEN = (ACL(op.ALL, Id("world", "anyone")),)
PRIVATE = (ACL(op.ALL, Id("digest", "a:b")),)
LIMITS, STATS = b"/zookeeper/quota/d0/zookeeper_limits", b"/zookeeper/quota/d0/zookeeper_stats"
LEAVING, STAYING = 1, 2


class Case:
    """A random tree in which a session is about to end, made anew as often as it is needed.

    listed: the paths in the txn: some of the session's, and what a log over a fuzzy snapshot may have besides.
    """

    def __init__(self, seed):
        random = self.random = Random(seed)
        self.txns, self.watches = [], []
        parents = [b"/d%d" % number for number in range(3)]
        for path in parents:
            self._create(path)
        if random.random() < 0.5:
            for path in (b"/zookeeper/quota/d0", LIMITS, STATS):
                self._create(path, data=b"count=1000,bytes=100000" if path == LIMITS else b"count=0,bytes=0")
        paths = []
        for number in range(random.randrange(1, 700)):
            path = b"%s/%d" % (random.choice(parents[: random.randint(1, 3)]), number)
            owner = random.choice((LEAVING, LEAVING, LEAVING, STAYING, 0))
            self._create(path, owner, random.choice((b"", b"data", None)), random.choice((OPEN, OPEN, PRIVATE)))
            paths.append(path)
        for path in random.sample(paths, len(paths) // 8):
            kind = random.choice((op.DELETE, op.SET_DATA))
            self._txn(0, kind, (path,) if kind == op.DELETE else (path, b"changed", 1))
        for watcher in range(random.choice((0, 0, 3))):
            for path in (*random.sample(parents, 2), *random.sample(paths, min(9, len(paths)))):
                self.watches.append((random.choice(("data", "child", "persistent")), path, watcher))
            if random.random() < 0.1:
                self.watches.append(("recursive", random.choice(parents), watcher))
        owned = list(self.tree().ephemerals.get(LEAVING, ()))
        listed = [*random.sample(owned, random.choice((0, len(owned) // 2, len(owned)))), *random.sample(paths, 1)]
        self.listed = tuple(listed) if random.random() < 0.3 else tuple(owned)

    def _txn(self, session_id, kind, record):
        self.txns.append((session_id, 0, len(self.txns) + 1, 5, kind, record))

    def _create(self, path, owner=0, data=b"", acl=OPEN):
        self._txn(owner, op.CREATE, (path, data, acl, bool(owner), -1))

    def tree(self):
        tree = DataTree()
        for session_id in (LEAVING, STAYING):
            tree.sessions[session_id] = 1000
        for txn in self.txns:
            tree.apply(txn)
        tree.fired.clear()
        for kind, path, watcher in self.watches:
            if kind in ("data", "child"):
                getattr(tree.watches, f"add_{kind}")(path, watcher)
            else:
                tree.watches.add_persistent(path, watcher, kind == "recursive")
        return tree

    @property
    def closing(self):
        return LEAVING, 0, len(self.txns) + 1, 6, op.CLOSE_SESSION, (self.listed,)


def one_by_one(case):
    tree = case.tree()
    zxid = case.closing[2]
    tree.sessions.pop(LEAVING)
    for path in dict.fromkeys((*case.listed, *tree.ephemerals.get(LEAVING, ()))):
        tree._delete(path, zxid, True)
    tree.last_zxid = zxid
    return tree


def in_slices(case):
    tree = case.tree()
    end = SessionEnd(tree, LEAVING, case.listed)
    before = contents(tree)
    for _ in end.slices():
        assert tree.last_zxid == case.closing[2] - 1
    assert contents(tree) == before  # nothing is to be seen of it yet
    tree.apply(case.closing, None, end)
    return tree


def at_once(case):
    tree = case.tree()
    tree.apply(case.closing)
    return tree


def contents(tree):
    znodes = {
        path: (node.data, node.acl, node.owner, node.pzxid, node.cversion, tree.children_names(path))
        for path, node in tree.items()
    }
    return znodes, tree.sessions, tree.ephemerals, tree.data_bytes, tree.count, tree.digest, tree.last_zxid


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("way", [at_once, in_slices])
def test_a_session_ends_as_if_its_znodes_were_deleted_one_by_one(way, seed, monkeypatch):
    case = Case(seed)
    monkeypatch.setattr(session_end, "_SLICE", case.random.choice((1, 7, 500)))
    expected, tree = one_by_one(case), way(case)
    assert contents(tree) == contents(expected)
    assert tree.digest == sum(node_digest(path, node) for path, node in tree.items()) & (1 << 64) - 1
    assert tree.fired == expected.fired
    assert tree.watches.total == expected.watches.total
    assert list(tree.nodes) == list(expected.nodes)
    usage = tree.find(STATS)
    assert usage is None or usage.data == expected.find(STATS).data


def test_the_znodes_below_a_quota_go_while_that_is_still_counted(monkeypatch):
    monkeypatch.setattr(quota, "_AT_ONCE", 3)
    case = Case(0)
    case.txns.clear()
    for path in (b"/d0", b"/zookeeper/quota/d0", LIMITS):
        case._create(path, data=b"count=100,bytes=-1" if path == LIMITS else b"")
    for number in range(20):
        case._create(b"/d0/%d" % number, LEAVING if number < 15 else 0, b"xy")
    tree = case.tree()
    tree.apply((0, 0, 100, 5, op.CREATE, (STATS, b"", OPEN, False, -1)))
    assert tree.quotas.counting
    tree.apply((LEAVING, 0, 101, 6, op.CLOSE_SESSION, ((),)))
    while tree.quotas.counting:
        tree.quotas.count_some(tree.nodes, 3)
    assert tree.find(STATS).data == b"count=6,bytes=10"


def test_a_watch_on_a_directory_costs_no_look_at_each_child_that_goes():
    tree = DataTree()
    tree.apply((0, 0, 1, 0, op.CREATE, (b"/d", b"", OPEN, False, -1)))
    for number in range(2, 1002):
        tree.apply((LEAVING, 0, number, 0, op.CREATE, (b"/d/%d" % number, b"", OPEN, True, -1)))
    tree.watches.add_child(b"/d", "watcher")
    tree.watches.add_data(b"/d/700", "watcher")
    end = SessionEnd(tree, LEAVING, None)
    end.look()
    assert tree.watches.concerned(end.gone, end.kept) == [b"/d/2", b"/d/700"]
