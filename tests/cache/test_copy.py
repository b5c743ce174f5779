"""The copy against a model of a server: replies and events in order, connections that break, watches of both kinds."""

import math
from collections import deque
from random import Random

import pytest

from recipes.cache.changes import Changes
from recipes.cache.copy import Copy, differs
from recipes.core.client.view import Node
from recipes.core.errors import NoNode
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import Stat

FOUND = [3292]  # data changed between the two reads of a znode, while nobody was connected
NAMES = ["", "/a", "/a/b", "/a/b/c", "/a/d", "/e", "/e/f"]


class Model:
    """A server with one client, whose Copy this drives.

    each: a watch by each read, else one on everything. requests: sent and not yet served. channel: sent back and not
    yet received. watched: (table, path) of the watches that fire once.
    """

    def __init__(self, random, root, max_depth, each):
        self.random, self.root, self.each, self.max_depth = random, root, each, max_depth
        self.zxid = 0
        self.tree = {}
        self.requests, self.channel, self.watched = deque(), deque(), set()
        self.lost = False  # whether events are lost, since there is no connection
        self.copy = Copy(root, max_depth, each, self.told)
        self.replayed = {}
        self.slow = Changes(self.copy.nodes, None, False, "")
        self.slowly = {}
        self.copy.begin_round()

    def told(self, path, old, new):
        assert self.replayed.get(path) == old or not differs(self.replayed.get(path), old)
        self.replayed.pop(path, None) if new is None else self.replayed.update({path: new})
        self.slow.note(path, old, new)

    def read_slowly(self):
        change = self.slow._next()
        if change is not None:
            gone = change.kind.value == "removed"
            assert (change.path in self.slowly) == (change.kind.value != "added")
            self.slowly.pop(change.path) if gone else self.slowly.update({change.path: change.node})
        return change

    def children(self, path):
        return sorted(other for other in self.tree if other.rpartition("/")[0] == path)

    def node(self, path):
        czxid, mzxid, pzxid = self.tree[path]
        return Node(b"", Stat(czxid, mzxid, 0, 0, 0, 0, 0, 0, 0, len(self.children(path)), pzxid))

    def fire(self, kind, path, tables):
        if self.lost:
            return
        if self.each:
            for table in tables:
                if (table, path) in self.watched:
                    self.watched.discard((table, path))
                    self.channel.append(("event", kind, path))
        elif kind != op.EVENT_CHILDREN and (path + "/").startswith(self.root + "/"):
            self.channel.append(("event", kind, path))

    def write(self):
        path = self.root + self.random.choice(NAMES)
        parent = path.rpartition("/")[0]
        self.zxid += 1
        if path not in self.tree:
            if path == self.root or parent in self.tree:
                self.tree[path] = (self.zxid, self.zxid, self.zxid)
                self.fire(op.EVENT_CREATED, path, ["exist"])
                self.touch(parent)
        elif self.random.random() < 0.5:
            self.tree[path] = (self.tree[path][0], self.zxid, self.tree[path][2])
            self.fire(op.EVENT_DATA, path, ["data"])
        elif not self.children(path):
            del self.tree[path]
            self.fire(op.EVENT_DELETED, path, ["data", "child"])
            self.touch(parent)

    def touch(self, parent):
        if parent in self.tree:
            self.tree[parent] = (*self.tree[parent][:2], self.zxid)
            self.fire(op.EVENT_CHILDREN, parent, ["child"])

    def ask(self):
        self.requests += self.copy.take(self.random.randint(1, 3))

    def serve(self):
        if not self.requests or self.lost:
            return
        ask = self.requests.popleft()
        if ask.path not in self.tree:
            self.watched |= {("exist", ask.path)} if ask.path == self.root else set()
            self.channel.append((ask, NoNode()))
        elif ask.kind == "get":
            self.watched.add(("data", ask.path))
            self.channel.append((ask, self.node(ask.path)))
        else:
            self.watched.add(("child", ask.path))
            names = [child.rpartition("/")[2] for child in self.children(ask.path)]
            self.channel.append((ask, names, *([self.node(ask.path).stat] if self.each else [])))

    def deliver(self):
        if not self.channel:
            return
        first, *rest = self.channel.popleft()
        if first == "event":
            self.copy.event(*rest)
        elif isinstance(rest[0], NoNode):
            self.copy.missing(first)
        elif self.random.random() < 0.05:
            self.copy.failed(first)
        else:
            self.copy.got(first, *rest)

    def cut(self):
        """The connection breaks, or is back: what was under way is sent again, what happened meanwhile is not told."""
        if not self.lost:
            again = [first for first, *_ in self.channel if first != "event"]
            self.channel.clear()
            self.requests.extendleft(reversed(again))
            self.lost = True
        else:
            self.lost = False
            self.copy.begin_round()

    def settle(self):
        if self.lost:
            self.cut()
        while self.copy.has_work or self.requests or self.channel:
            self.ask()
            self.serve()
            self.deliver()


@pytest.mark.parametrize("each", [False, True], ids=["recursive", "each"])
@pytest.mark.parametrize("root", ["/r", "/deep/r"])
def test_a_copy_becomes_what_the_store_is(each, root):
    cuts = 0
    for seed in (*range(250), *FOUND):
        random = Random(seed)
        model = Model(random, root, random.choice([math.inf, 2, 1, 0]), each)
        steps = [model.write, model.ask, model.serve, model.deliver, model.serve, model.deliver, model.read_slowly]
        for _ in range(random.randint(20, 150)):
            random.choice(steps)()
            if random.random() < 0.05:
                model.cut()
                cuts += 1
        model.settle()
        while model.read_slowly() is not None:
            pass
        copy, depth = model.copy, root.count("/")
        expected = {path: model.node(path) for path in model.tree if path.count("/") - depth <= model.max_depth}
        assert copy.is_whole, seed
        inner = {path: node for path, node in expected.items() if path.count("/") - depth < model.max_depth}
        assert {path: copy.nodes.get(path) for path in inner} == inner, seed  # the Stat of all but the last level
        for found in (copy.nodes, model.replayed, model.slowly):
            assert found.keys() == expected.keys(), seed
            assert not any(differs(found[path], node) for path, node in expected.items()), seed
        for path in expected:
            assert copy.children(path) == [child for child in model.children(path) if child in expected], seed
        # Nothing is kept of what is gone.
        known = set(expected)
        assert set(copy._seen) <= known and set(copy._listed) <= known and copy._below.keys() <= known, seed
        assert not (copy._busy or copy._queued or copy._again or copy._owed or copy.refused), seed
    assert cuts > 100


def test_u27_another_znode_of_the_same_version_is_a_change():
    def node(czxid, mzxid, version=0):
        return Node(b"", Stat(czxid, mzxid, 0, 0, version, 0, 0, 0, 0, 0, czxid))

    assert differs(node(1, 1), node(2, 2)) and differs(node(1, 1), node(1, 2)) and differs(None, node(1, 1))
    assert not differs(node(1, 1), node(1, 1)) and not differs(None, None)
