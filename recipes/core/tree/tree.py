"""The state machine: the store's contents at one zxid.

`apply` carries out one txn: one just committed, one read from the log over a fuzzy snapshot, or one from a leader. So
it never fails: a txn that cannot be carried out returns an error code. Source: DataTree.java.
"""

from collections import deque
from itertools import repeat
from typing import Final

from recipes.core import paths
from recipes.core.codes import NO_NODE, NODE_EXISTS, OK, RUNTIME_INCONSISTENCY
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import OPEN_ACL, Ids
from recipes.core.jute.txns import Record, Txn
from recipes.core.tree.acl import READ_ONLY_ACL, permits, unshared
from recipes.core.tree.children import Children
from recipes.core.tree.digest import known_digest, node_digest, numbers_digest
from recipes.core.tree.packed import digest_of, pack, unpack
from recipes.core.tree.quota import Quotas, is_of_quota, subtree_of
from recipes.core.tree.session_end import SessionEnd
from recipes.core.tree.watches import WatchTable
from recipes.core.tree.znode import (
    CONTAINER_OWNER,
    Acl,
    Numbers,
    ZNode,
    is_session,
    made_of,
    pack_stat,
    ttl_of,
    ttl_owner,
)
from recipes.core.tree.znodes import ZNodes

RESERVED: Final = (b"/", b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config")
_DIGEST_MASK: Final = (1 << 64) - 1
_HALF: Final = 1 << 31
_SESSION_BYTES: Final = 300  # in memory
_MOST_PACKED: Final = 1000  # znodes in one pause
_DIGEST_INTERVAL, _DIGESTS_KEPT = 128, 1024
# Looked up for every txn.
_SET_DATA: Final = op.SET_DATA
_CREATE: Final = op.CREATE
_CREATE2: Final = op.CREATE2
_DELETE: Final = op.DELETE

# One part of a multi: its type, error code, path created and packed Stat; what its reply does not need is None.
Part = tuple[int, int, bytes | None, bytes | None]
# Error code, path created, znode created or changed, parts of a multi.
Applied = tuple[int, bytes | None, ZNode | None, list[Part] | None]
# Watcher, event type, path, and the ACL that must let the watcher READ.
Fired = tuple[object, int, bytes, Acl]
_CHECKED: Final[Part] = (op.CHECK, OK, None, None)
_STAT_SHOWN: Final = frozenset((op.SET_DATA, op.CREATE2, op.CREATE_CONTAINER, op.CREATE_TTL))


class DataTree(ZNodes):
    """Every znode by its path, the sessions and the watches.

    digests: the tree's digest at every 128th zxid, so that servers can be compared later.
    fired: events the last txns caused, for the member to deliver and clear.
    """

    count: int  # declared once more, since methods here change it

    def __init__(self) -> None:
        super().__init__()
        self.watches: WatchTable = WatchTable()
        self.fired: list[Fired] = []
        self.clear()

    def clear(self) -> None:
        """Become the empty database: reserved znodes only, zxid 0."""
        self.empty()
        self.quotas: Quotas = Quotas(self.packed)
        self.sessions: dict[int, int] = {}  # id -> timeout in ms
        self.ephemerals: dict[int, dict[bytes, None]] = {}
        self.containers: dict[bytes, None] = {}
        self.ttls: dict[bytes, None] = {}
        self.last_zxid: int = 0
        self._digest = 0
        self._unsettled: dict[bytes, int] = {}  # znodes changed since `digest` was last asked for: what they were in it
        self.digests: deque[tuple[int, int]] = deque(maxlen=_DIGESTS_KEPT)
        self.data_bytes: int = 0
        for path in RESERVED:
            node = ZNode(b"", OPEN_ACL, 0, 0)
            if path == b"/zookeeper/config":
                node.acl = READ_ONLY_ACL
                node.aversion = -1
            self.add_node(path, node)

    def show_servers(self, text: bytes, wall_ms: int) -> None:
        """Show the servers of the ensemble, from now on: no txn has written this. Source: setData in DataTree.java."""
        shown = self.nodes[b"/zookeeper/config"]
        shown.data, shown.version, shown.mtime = text, -1, wall_ms

    @property
    def digest(self) -> int:
        """One number for all znodes; see digest.py. What has changed since it was last asked for is counted now.

        So a znode that changes often, such as the parent of new znodes, is counted once for many txns.
        """
        if self._unsettled:
            self._settle()
        return self._digest

    @digest.setter
    def digest(self, digest: int) -> None:
        self._settle()
        self._digest = digest

    def _settle(self) -> None:
        nodes, digest = self.nodes, self._digest
        for path, before in self._unsettled.items():
            node = nodes.get(path)
            if node is None:
                after = digest_of(self.packed[path])
            else:
                node.digest = after = node_digest(path, node)
            digest += after - before
        self._unsettled = {}
        self._digest = digest & _DIGEST_MASK

    def load(self, path: bytes, data: bytes | None, acl: Acl, owner: int, numbers: Numbers) -> None:
        """Add a znode of a snapshot, behind its parent. Raises KeyError if there is no parent."""
        if owner or path == paths.ROOT or path.startswith(b"/zookeeper") or path in self.packed or path in self.nodes:
            self.add_node(path, made_of(data, acl, owner, numbers))
            return
        parent_path = paths.parent(path)
        parent = self.nodes.get(parent_path)
        if parent is None:
            parent = self.nodes[parent_path] = unpack(self.packed.pop(parent_path), self.acls)
        children = parent.children
        if children is None:
            children = parent.children = Children()
        digest = numbers_digest(path, data, numbers)
        self.packed[path] = pack(data, self.acls.intern(acl), numbers, children.add(path), digest, self.acls)
        self._digest = (self._digest + digest) & _DIGEST_MASK
        self.data_bytes += len(path) + (len(data) if data else 0)
        self.count += 1

    def count_loaded(self, count: int, data_bytes: int, digest: int) -> None:
        """Count znodes that a reader of snapshots has packed itself. digest: the sum of their parts."""
        self.count += count
        self.data_bytes += data_bytes
        self._digest = (self._digest + digest) & _DIGEST_MASK

    def add_node(self, path: bytes, node: ZNode) -> None:
        """Put a znode in place, for the loader: no event, no quota, and the parent's cversion and pzxid stay.

        A second znode at the same path replaces the first.
        """
        before = self.find(path)
        if before is None:
            self.count += 1
        else:
            node.children, node.place = before.children, before.place
            self._count(path, before, -1)
        node.acl = self._kept(path, node.acl)
        self.nodes[path] = node
        self._count(path, node, 1)
        if before is None and path != paths.ROOT:
            parent_path = paths.parent(path)
            parent = self.unpacked(parent_path)
            if parent is None:
                raise KeyError(parent_path)
            self.link(path, node, parent_path, parent)
        self._index(path, node.owner)

    def apply(self, txn: Txn, digest: int | None = None, end: SessionEnd | None = None) -> Applied:
        """Carry out one txn and return its result.

        digest: the tree's digest after the txn, where this server computed it while preparing the txn.
        end: of the session that the txn closes, if it is known already what goes with it.
        """
        session_id, _, zxid, time_ms, kind, record = txn
        track = digest is None
        if self._unsettled and not track:
            self._settle()
        if kind == _SET_DATA:
            applied = self._set_data(record, zxid, time_ms, track)
        elif kind == _CREATE or kind == _CREATE2:
            path, data, acl, ephemeral, cversion = record
            owner = session_id if ephemeral else 0
            applied = self._create(path, data, acl, owner, cversion, zxid, time_ms, track)
        elif kind == _DELETE:
            applied = self._delete(record[0], zxid, track)
        elif kind == op.MULTI:
            applied = self._multi(record, session_id, zxid, time_ms, track)
        elif kind == op.ERROR:
            applied = (record[0], None, None, None)
        elif kind == op.CREATE_SESSION:
            self.sessions[session_id] = record[0]
            applied = (OK, None, None, None)
        elif kind == op.CLOSE_SESSION:
            if end is None:
                end = SessionEnd(self, session_id, record[0])
                end.look()
            self._end_session(end, zxid)
            applied = (OK, None, None, None)
        else:
            applied = self._one(kind, record, session_id, zxid, time_ms, track)
        if digest is not None and kind != op.CLOSE_SESSION:
            self._digest = digest
        self.last_zxid = zxid
        if not zxid % _DIGEST_INTERVAL:
            self.digests.append((zxid, self.digest))
            self.pack_some(_MOST_PACKED)
        return applied

    def memory_bytes(self) -> int:
        """About how much memory it takes, watches left out: they have a limit of their own."""
        return self.data_bytes + self.znodes_bytes() + _SESSION_BYTES * len(self.sessions) + self.acls.measure()

    def children_names(self, path: bytes) -> list[bytes]:
        """Bare names of the children of a znode that exists."""
        node = self.nodes.get(path)  # one with children is not packed
        children = node.children if node is not None else None
        cut = 1 if path == paths.ROOT else len(path) + 1
        return [] if children is None else [child[cut:] for block in children.blocks() for child in block]

    def quota_permits(self, path: bytes, perm: int, ids: Ids) -> bool:
        """Whether the subtree that the quota's own znode at `path` is about permits this, or else what is above it."""
        about = subtree_of(path)
        while (node := self.find(about)) is None:
            about = paths.parent(about)
        return permits(node.acl, perm, ids)

    def _kept(self, path: bytes, acl: Acl) -> Acl:
        known = self.acls.intern(acl)  # in the table in both cases: a snapshot begins with the table
        return unshared(known) if is_of_quota(path) else known

    # One operation each; `track` says whether the digest must be computed.

    def _one(self, kind: int, record: Record, session_id: int, zxid: int, time_ms: int, track: bool) -> Applied:
        if kind in (op.CREATE, op.CREATE2):
            path, data, acl, ephemeral, parent_cversion = record
            owner = session_id if ephemeral else 0
            return self._create(path, data, acl, owner, parent_cversion, zxid, time_ms, track)
        if kind in (op.DELETE, op.DELETE_CONTAINER):
            return self._delete(record[0], zxid, track)
        if kind == op.SET_DATA:
            return self._set_data(record, zxid, time_ms, track)
        if kind == op.SET_ACL:
            return self._set_acl(record, track)
        if kind == op.CREATE_CONTAINER:
            path, data, acl, parent_cversion = record
            return self._create(path, data, acl, CONTAINER_OWNER, parent_cversion, zxid, time_ms, track)
        if kind == op.CREATE_TTL:
            path, data, acl, parent_cversion, ttl_ms = record
            return self._create(path, data, acl, ttl_owner(ttl_ms), parent_cversion, zxid, time_ms, track)
        return OK, None, None, None  # CHECK: it was checked when the txn was made

    def _create(
        self,
        path: bytes,
        data: bytes | None,
        acl: Acl,
        owner: int,
        parent_cversion: int,
        zxid: int,
        time_ms: int,
        track: bool,
    ) -> Applied:
        parent_path = paths.parent(path)
        nodes = self.nodes
        parent = nodes.get(parent_path) or self.unpacked(parent_path)
        if parent is None:
            return NO_NODE, None, None, None
        existing = nodes.get(path)
        if existing is None and path in self.packed:
            existing = self.unpacked(path)
        self._changes(parent_path, parent, track)
        if parent_cversion == -1:
            parent_cversion = parent.cversion + 1
        ahead = parent_cversion - parent.cversion
        if ahead > 0 or ahead < -_HALF:  # second case: the 32-bit counter has wrapped
            parent.cversion = parent_cversion
            parent.pzxid = zxid
        if existing is not None:  # replayed over a snapshot that has the znode already, perhaps without its ACL
            if not existing.acl:
                existing.acl = self.acls.intern(acl or ())
            return NODE_EXISTS, None, None, None
        node = ZNode(data, self.acls.intern(acl or ()), zxid, time_ms, owner)
        nodes[path] = node
        self.count += 1
        if parent.children is None:
            self.link(path, node, parent_path, parent)
        else:
            node.place = parent.children.add(path)
        if owner:
            self._index(path, owner)
        else:
            self.young.append(path)
        if track:
            self._unsettled[path] = 0
        self.data_bytes += len(path) + (len(data) if data else 0)
        if self.quotas.active or path.startswith(b"/zookeeper/quota/"):
            node.acl = self._kept(path, node.acl)
            self.quotas.created(nodes, path, node)
        if self.watches.watchers:
            self._note_fired(self.watches.fire_created(path), node.acl, parent.acl)
        return OK, path, node, None

    def _delete(self, path: bytes, zxid: int, track: bool) -> Applied:
        parent_path = paths.parent(path)
        nodes = self.nodes
        parent = nodes.get(parent_path) or self.unpacked(parent_path)
        node = nodes.get(path) or self.find(path)
        if parent is not None:
            self._changes(parent_path, parent, track)
            children = parent.children
            if node is not None and children is not None and children.remove(path, node.place):
                parent.children = None
            parent.pzxid = max(parent.pzxid, zxid)
        if node is None:
            return NO_NODE, None, None, None
        if track:
            self._digest = (self._digest - self._counted(path, node)) & _DIGEST_MASK
        nodes.pop(path, None)
        if self.packed:
            self.packed.pop(path, None)
        self.count -= 1
        if node.owner:
            self._unindex(path, node.owner)
        self.data_bytes -= len(path) + (len(node.data) if node.data else 0)
        if self.quotas.active:
            self.quotas.deleted(self.nodes, path, node)
        if self.watches.watchers:
            above = parent.acl if parent is not None else node.acl
            self._note_fired(self.watches.fire_deleted(path), node.acl, above)
        return OK, None, None, None

    def _set_data(self, record: Record, zxid: int, time_ms: int, track: bool) -> Applied:
        path, data, version = record
        node = self.nodes.get(path) or self.unpacked(path)
        if node is None:
            return NO_NODE, None, None, None
        if track and path not in self._unsettled:
            self._unsettled[path] = known_digest(path, node)
        data_before = node.data
        node.data = data
        node.version = version
        node.mzxid = zxid
        node.mtime = time_ms
        node.digest = -1
        growth = (len(data) if data else 0) - (len(data_before) if data_before else 0)
        if growth:
            self.data_bytes += growth
        if self.quotas.active:
            self.quotas.changed(self.nodes, path, data_before, data)
        if self.watches.watchers:
            self._note_fired(self.watches.fire_data_changed(path), node.acl, node.acl)
        return OK, None, node, None

    def _set_acl(self, record: Record, track: bool) -> Applied:
        path, acl, version = record
        node = self.unpacked(path)
        if node is None:
            return NO_NODE, None, None, None
        self._changes(path, node, track)
        node.acl = self._kept(path, acl or ())
        node.aversion = version
        return OK, None, node, None

    def _multi(self, record: Record, session_id: int, zxid: int, time_ms: int, track: bool) -> Applied:
        failed = next((index for index, (kind, _) in enumerate(record) if kind == op.ERROR), None)
        parts: list[Part] = []
        for index, (kind, inner) in enumerate(record):
            if failed is not None:
                err = OK if index < failed else inner[0] if index == failed else RUNTIME_INCONSISTENCY
                parts.append((op.ERROR, err, None, None))
                continue
            if kind == op.CHECK:  # it was checked when the txn was made
                parts.append(_CHECKED)
                continue
            err, path, node, _ = self._one(kind, inner, session_id, zxid, time_ms, track)
            shown = pack_stat(node) if node is not None and kind in _STAT_SHOWN else None
            parts.append((kind, err, path, shown))
        self.pack_some(min(_MOST_PACKED, 2 * len(parts)))
        return OK, None, None, parts

    def _end_session(self, end: SessionEnd, zxid: int) -> None:
        """Drop what goes with a session. Little is done for each znode: there may be many thousands."""
        gone, nodes = end.gone, self.nodes
        self.sessions.pop(end.session_id, None)
        for parent_path, blocks in end.kept.items():
            parent = self.unpacked(parent_path)
            if parent is not None:
                self._changes(parent_path, parent, True)
                children = parent.children
                if children is not None and any([children.keep(number, kept) for number, kept in blocks.items()]):
                    parent.children = None
                parent.pzxid = max(parent.pzxid, zxid)
        deque(map(nodes.pop, gone, repeat(None)), 0)
        for path, owner in end.foreign:
            self.packed.pop(path, None)
            self._unindex(path, owner)
        self.count -= len(gone)
        self.ephemerals.pop(end.session_id, None)
        self._digest = (self._digest - end.digest) & _DIGEST_MASK
        self.data_bytes -= end.data_bytes
        if self.quotas.active:
            self.quotas.deleted_together(nodes, gone, end.limited)
        for path in self.watches.concerned(gone, end.kept):
            node, parent = gone[path], nodes.get(paths.parent(path))
            found = self.watches.fire_deleted(path)
            self._note_fired(found, node.acl, parent.acl if parent is not None else node.acl)

    # Indexes beside the znodes themselves.

    def _index(self, path: bytes, owner: int) -> None:
        if owner == 0:
            return
        if owner == CONTAINER_OWNER:
            self.containers[path] = None
        elif ttl_of(owner) is not None:
            self.ttls[path] = None
        else:
            self.ephemerals.setdefault(owner, {})[path] = None

    def _unindex(self, path: bytes, owner: int) -> None:
        if is_session(owner):
            owned = self.ephemerals.get(owner)
            if owned is not None:
                owned.pop(path, None)
                if not owned:
                    del self.ephemerals[owner]
        else:
            self.containers.pop(path, None)
            self.ttls.pop(path, None)

    def _changes(self, path: bytes, node: ZNode, track: bool) -> None:
        """The znode is about to change, and its digest with it.

        Without `track` that digest only becomes unknown: the preparer of the txn has computed the tree's.
        """
        if track and path not in self._unsettled:
            self._unsettled[path] = known_digest(path, node)
        node.digest = -1

    def _counted(self, path: bytes, node: ZNode) -> int:
        """What a znode that goes has been in the tree's digest."""
        before = self._unsettled.pop(path, None)
        return known_digest(path, node) if before is None else before

    def _count(self, path: bytes, node: ZNode, sign: int) -> None:
        node.digest = node_digest(path, node)
        self._digest = (self._digest + sign * node.digest) & _DIGEST_MASK
        self.data_bytes += sign * (len(path) + (len(node.data) if node.data else 0))

    def _note_fired(self, found: list[tuple[object, int, bytes]], acl: Acl, parent_acl: Acl) -> None:
        for watcher, kind, path in found:
            self.fired.append((watcher, kind, path, parent_acl if kind == op.EVENT_CHILDREN else acl))
