"""A copy of a subtree, and the reads that are due to keep it current. Pure: the caller passes events and replies in.

The copy is level-triggered: an event says only where to read again. Replies come in the order of their requests, and a
watch is set before the first read. So a reply contains every change before it, and a later change comes as an event.
Only one request at a time reads a path; if an event comes meanwhile, the path is read once more.

A round is one reading of everything, begun on one connection. `is_whole` says that the round is complete.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from recipes.core import paths
from recipes.core.client.view import Node
from recipes.core.errors import RecipesError
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import Stat

Told = Callable[[str, Node | None, Node | None], None]


class Ask(NamedTuple):
    """A read to be made. round: the round in which the reading of the znode began, with "get"."""

    kind: Literal["get", "children"]
    path: str
    round: int


class Copy:
    """The known state of `root` and of the znodes below it, down to `max_depth` levels.

    each: whether each read sets a watch of its own; then every list of children has to be read. Otherwise one watch
    reports the creation and deletion of every znode. told: called with the path, the Node before and the Node after
    (None: no znode) whenever a znode came, went, was replaced or has other data.
    """

    def __init__(self, root: str, max_depth: float, each: bool, told: Told) -> None:
        self.nodes: dict[str, Node] = {}
        self.refused: dict[str, RecipesError] = {}
        self.round: int = 0
        self._root = root
        self._max_depth = max_depth
        self._each = each
        self._told = told
        self._below: dict[str, set[str]] = {}  # paths of the children that are in the copy
        self._queue: deque[Ask] = deque()
        self._queued: set[str] = set()  # paths whose "get" is in the queue
        self._busy: set[str] = set()  # paths between their "get" and its last reply
        self._again: set[str] = set()  # busy paths that must be read again
        self._owed: set[str] = set()  # paths that this round still has to read
        self._seen: dict[str, int] = {}  # the round in which a path was read last
        self._listed: dict[str, int] = {}  # the round in which its children were listed last
        self._relist: set[str] = set()

    @property
    def has_work(self) -> bool:
        """Whether there is anything to read."""
        return bool(self._queue)

    @property
    def is_whole(self) -> bool:
        """Whether everything was read in this round, failed reads included."""
        return self.round > 0 and not self._owed

    def children(self, path: str) -> list[str]:
        """Paths of the children that are in the copy, sorted."""
        return sorted(self._below.get(path, ()))

    def begin_round(self) -> None:
        """Read everything once more: changes may have gone unseen."""
        self.round += 1
        self._owed = {self._root}
        self._read(self._root)

    def event(self, kind: int, path: str) -> None:
        """A watch fired."""
        depth = self._depth(path)
        if depth > self._max_depth:
            return
        if kind == op.EVENT_CHILDREN:
            self._relist.add(path)
        self._read(path)
        # If each read sets a watch, the parent's own watch has another event for this.
        if not self._each and depth and kind in (op.EVENT_CREATED, op.EVENT_DELETED):
            self._read(_parent(path))

    def take(self, most: int) -> list[Ask]:
        """Up to `most` reads to make now. For each call `got`, `missing`, `refuse` or `failed` later."""
        asks: list[Ask] = []
        while self._queue and len(asks) < most:
            ask = self._queue.popleft()
            if ask.kind == "get":
                self._queued.discard(ask.path)
                self._busy.add(ask.path)
                ask = ask._replace(round=self.round)
            else:
                self._relist.discard(ask.path)
            asks.append(ask)
        return asks

    def got(self, ask: Ask, value: Node | Sequence[str], stat: Stat | None = None) -> None:
        """Take a reply: a Node for "get"; names, and the Stat at that time, for "children"."""
        path = ask.path
        if isinstance(value, Node):
            self.refused.pop(path, None)
            self._put(path, value)
            if self._must_list(ask, value):
                self._queue.append(Ask("children", path, ask.round))
                return
        else:
            if (node := self.nodes.get(path)) is not None:
                self._listed[path] = ask.round
                if stat is not None and not differs(node, listed := Node(node.data, stat)):
                    self.nodes[path] = listed  # its watch reports children since this reply, not since the "get"
            self._keep_only(path, {paths.join(path, name) for name in value})
        self._done(ask)

    def missing(self, ask: Ask) -> None:
        """Take the reply that there is no such znode."""
        self.refused.pop(ask.path, None)
        self._drop(ask.path)
        self._done(ask)

    def refuse(self, ask: Ask, error: RecipesError) -> None:
        """Take the reply that the read is not permitted. The znode, or what is below it, is left out."""
        if ask.kind == "get":
            self._drop(ask.path)
        else:
            self._keep_only(ask.path, set())
        self.refused[ask.path] = error
        self._done(ask)

    def failed(self, ask: Ask) -> None:
        """Note that a read was not answered: it is due again, and until then the copy is not whole."""
        self._owed.add(ask.path)
        self._again.discard(ask.path)
        self._busy.discard(ask.path)
        if ask.kind == "children":
            self._relist.add(ask.path)
        self._read(ask.path)

    def _read(self, path: str) -> None:
        if path in self._busy:
            self._again.add(path)
        elif path not in self._queued:
            self._queued.add(path)
            self._queue.append(Ask("get", path, self.round))

    def _must_list(self, ask: Ask, node: Node) -> bool:
        path = ask.path
        if self._depth(path) >= self._max_depth:
            return False
        if not self._each and node.stat.num_children == 0:
            self._listed[path] = ask.round
            self._relist.discard(path)
            self._keep_only(path, set())
            return False
        return path in self._relist or self._listed.get(path) != self.round

    def _put(self, path: str, node: Node) -> None:
        old = self.nodes.get(path)
        self.nodes[path] = node
        if old is None and path != self._root:
            self._below.setdefault(_parent(path), set()).add(path)
        elif old is not None and old.stat.czxid != node.stat.czxid:
            self._listed.pop(path, None)  # another znode of the same name
        if differs(old, node):
            self._told(path, old, node)

    def _keep_only(self, path: str, children: set[str]) -> None:
        for child in self.children(path):
            if child not in children:
                self._drop(child)
        for child in [each for each in self.refused if _parent(each) == path and each not in children]:
            self._drop(child)
        for child in sorted(children):
            if self._seen.get(child) != self.round:
                self._owed.add(child)
                self._read(child)

    def _drop(self, path: str) -> None:
        """Forget the znode and all below it, the lowest first."""
        doomed, at = [path], 0
        while at < len(doomed):
            above = doomed[at]
            doomed += sorted(self._below.get(above, ()))
            doomed += [each for each in self.refused if each not in self.nodes and _parent(each) == above]
            at += 1
        for each in reversed(doomed):
            self._below.pop(each, None)
            self._listed.pop(each, None)
            self._relist.discard(each)
            self._seen.pop(each, None)
            self.refused.pop(each, None)
            old = self.nodes.pop(each, None)
            if old is not None:
                self._told(each, old, None)
        if path != self._root and (siblings := self._below.get(_parent(path))) is not None:
            siblings.discard(path)
            if not siblings:
                del self._below[_parent(path)]

    def _done(self, ask: Ask) -> None:
        path = ask.path
        self._busy.discard(path)
        if ask.round == self.round:
            self._owed.discard(path)
            if path in self.nodes or path in self.refused:
                self._seen[path] = ask.round
        elif path in self._owed:
            self._again.add(path)
        if path in self._again:
            self._again.discard(path)
            self._read(path)

    def _depth(self, path: str) -> int:
        if path == self._root:
            return 0
        return path.count("/") - (0 if self._root == "/" else self._root.count("/"))


def differs(old: Node | None, new: Node | None) -> bool:
    """Whether two states of a znode differ, by zxid: a znode that was made anew begins again with version 0."""
    if old is None or new is None:
        return old is not new
    return (old.stat.czxid, old.stat.mzxid) != (new.stat.czxid, new.stat.mzxid)


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
