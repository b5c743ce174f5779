"""Turns a write request into a txn, checked against the tree *and* all txns accepted but not yet applied.

Pipelined requests must see one another: `create /a`, `create /a/b`, `delete /a` behave as if each had waited for the
one before. A request that fails becomes an error txn, which takes its zxid like any other.
Source: PrepRequestProcessor.java.
"""

from collections.abc import Callable, Generator
from typing import Final

from recipes.core import paths
from recipes.core.codes import (
    BAD_ARGUMENTS,
    BAD_VERSION,
    INVALID_ACL,
    MARSHALLING_ERROR,
    NO_AUTH,
    NO_CHILDREN_FOR_EPHEMERALS,
    NO_NODE,
    NODE_EXISTS,
    NOT_EMPTY,
    QUOTA_EXCEEDED,
    RECONFIG_DISABLED,
    RUNTIME_INCONSISTENCY,
    SESSION_EXPIRED,
    SESSION_MOVED,
    UNIMPLEMENTED,
)
from recipes.core.errors import WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int, un_int, write_buffer
from recipes.core.jute.frames import MAX_FRAME_BYTES
from recipes.core.jute.records import OPEN_ACL, Ids
from recipes.core.jute.requests import (
    CreateRequest,
    MultiOp,
    read_create_request,
    read_multi_slices,
    read_path_version,
    read_set_acl,
    read_set_data,
)
from recipes.core.jute.txns import (
    DIGEST_VERSION,
    Record,
    encode_digest,
    encode_part,
    encode_record,
    pack_header,
    pack_set_tail,
)
from recipes.core.replication import Entry
from recipes.core.tree.acl import fix_up, permits, size_bytes, unshared
from recipes.core.tree.pending import Pending
from recipes.core.tree.pending_znode import child_count, copy_of, new_znode
from recipes.core.tree.quota import is_of_quota
from recipes.core.tree.request import Request
from recipes.core.tree.sessions import SessionTracker
from recipes.core.tree.tree import RESERVED, DataTree
from recipes.core.tree.znode import CONTAINER_OWNER, MAX_TTL_MS, ZNODE_BYTES, Acl, ZNode, is_session, ttl_owner
from recipes.core.zxid import next_zxid

_SLICE: Final = 32  # parts of a multi
_SLICE_UNITS: Final = 10 * _SLICE  # of preparing them; of encoding them a tenth
_CREATES: Final = frozenset((op.CREATE, op.CREATE2, op.CREATE_CONTAINER, op.CREATE_TTL))


class RequestRefused(Exception):
    """A request that becomes an error txn. Never leaves this module."""

    def __init__(self, code: int) -> None:
        self.code = code


class Preparer:
    """Makes txns, one zxid after the other.

    extended_types: whether znodes with a TTL may be created. enforce_quota: whether hard quotas refuse.
    store_is_full: while it is set, what would add to the store is refused.
    max_txn_bytes: the largest txn that other servers accept: twice the largest request.
    """

    def __init__(
        self,
        tree: DataTree,
        tracker: SessionTracker,
        *,
        extended_types: bool = False,
        enforce_quota: bool = False,
        max_txn_bytes: int = 2 * MAX_FRAME_BYTES,
    ) -> None:
        self._tracker = tracker
        self._tree = tree
        self._extended_types = extended_types
        self._enforce_quota = enforce_quota
        self._limits_growth = enforce_quota  # one of the two limits may refuse what adds something
        self._store_is_full = False
        self._freed_bytes = 0  # by the multi being made, while the store is full
        self.pending: Pending = Pending(tree, enforce_quota)
        # Bound once: every request uses them.
        self._find, self._put = self.pending.find, self.pending.put
        self.applied: Callable[[int], None] = self.pending.applied
        self._max_txn_bytes = max_txn_bytes
        self._acl_bytes = 0  # of the ACLs in the multi being made
        self.last_zxid: int = tree.last_zxid

    @property
    def store_is_full(self) -> bool:
        """Whether what would add to the store is refused. A multi may move something: what it frees, it may use."""
        return self._store_is_full

    @store_is_full.setter
    def store_is_full(self, full: bool) -> None:
        self._store_is_full = full
        self._limits_growth = full or self._enforce_quota

    def prepare(self, request: Request, time_ms: int) -> Entry:
        """The entry for `request`, with the next zxid. Never fails: a refused request makes an error txn."""
        zxid = self._next(request)
        kind = request.op
        record: Record
        try:
            if kind == op.SET_DATA:
                self._check_session(request)
                record, splice = self._set_data(request.body, request.ids, zxid, time_ms)
                session_id, cxid, digest = request.session_id, request.cxid, self.pending.digest
                tail = pack_set_tail(record[2], DIGEST_VERSION, digest)
                payload = b"".join((pack_header(session_id, cxid, zxid, time_ms, kind), splice, tail))
                return Entry(zxid, payload, (session_id, cxid, zxid, time_ms, kind, record), digest)
            if kind in _CREATES:
                self._check_session(request)
                asked, _ = read_create_request(request.body, 0, kind == op.CREATE_TTL)
                kind, record = self._create(kind, asked, request, zxid, time_ms)
            elif kind == op.MULTI:
                self._check_session(request)
                record = finish(self._multi(request, zxid, time_ms))
            elif kind == op.CREATE_SESSION:
                record = un_int(request.body)
            elif kind == op.CLOSE_SESSION:
                record = finish(self._close_session(request, zxid))
            elif kind == op.DELETE_CONTAINER:
                record = self._delete_container(request.body, zxid)
            else:
                self._check_session(request)
                record = self._simple(kind, request.body, request.ids, zxid, time_ms)
        except RequestRefused as refused:
            kind, record = op.ERROR, (refused.code,)
        except WireError:
            kind, record = op.ERROR, (MARSHALLING_ERROR,)
        return self._entry(request, time_ms, kind, record, encode_record(kind, record))

    def prepare_in_slices(self, request: Request, time_ms: int) -> Generator[int, None, Entry]:
        """The same for a multi and the closing of a session, in slices, each with its units of about a microsecond.

        Nothing else may be prepared before the last slice is done; txns before this one may be applied meanwhile.
        """
        zxid = self._next(request)
        record: Record
        try:
            if request.op == op.MULTI:
                self._check_session(request)
                record = yield from self._multi(request, zxid, time_ms)
            else:
                record = yield from self._close_session(request, zxid)
        except (RequestRefused, WireError) as error:
            record = (error.code if isinstance(error, RequestRefused) else MARSHALLING_ERROR,)
            return self._entry(request, time_ms, op.ERROR, record, encode_record(op.ERROR, record))
        parts = record if request.op == op.MULTI else record[0]
        chunks = [pack_int(len(parts))]
        for begin in range(0, len(parts), _SLICE):
            some = parts[begin : begin + _SLICE]
            chunks += [encode_part(*part) for part in some] if request.op == op.MULTI else map(write_buffer, some)
            yield _SLICE_UNITS // 10
        return self._entry(request, time_ms, request.op, record, b"".join(chunks))

    def _next(self, request: Request) -> int:
        zxid = next_zxid(self.last_zxid)
        self.last_zxid = request.zxid = zxid
        return zxid

    def _entry(self, request: Request, time_ms: int, kind: int, record: Record, encoded: bytes) -> Entry:
        session_id, cxid, zxid = request.session_id, request.cxid, request.zxid
        digest = None if kind == op.ERROR else self.pending.digest
        trailer = b"" if digest is None else encode_digest(digest)
        payload = b"".join((pack_header(session_id, cxid, zxid, time_ms, kind), encoded, trailer))
        return Entry(zxid, payload, (session_id, cxid, zxid, time_ms, kind, record), digest)

    # Operations: each raises RequestRefused or returns the txn's record.

    def _check_session(self, request: Request) -> None:
        session_id, link = request.session_id, request.link
        session = self._tracker.sessions.get(session_id)
        if session is None or session.closing:
            raise RequestRefused(SESSION_EXPIRED)
        if session.link != link and self._tracker.has_moved(session_id, link):
            raise RequestRefused(SESSION_MOVED)

    def _simple(self, kind: int, body: bytes, ids: Ids, zxid: int, time_ms: int) -> Record:
        if kind == op.DELETE:
            path, version, _ = read_path_version(body, 0)
            return self._delete(path, version, ids, zxid)
        if kind == op.SET_ACL:
            path, acl, version, _ = read_set_acl(body, 0)
            return self._set_acl(path, acl, version, ids, zxid)
        if kind == op.CHECK:
            path, version, _ = read_path_version(body, 0)
            return self._check(path, version, ids)
        if kind == op.RECONFIG:
            raise RequestRefused(RECONFIG_DISABLED)
        raise RequestRefused(UNIMPLEMENTED)

    def _set_data(self, body: bytes, ids: Ids, zxid: int, time_ms: int) -> tuple[Record, bytes]:
        """The txn's record, and its bytes without the version at their end: they are those of the request."""
        path, data, expected, end = read_set_data(body, 0)
        node = self._find(path)
        if node is None:
            raise self._missing(path)
        if node.acl is not OPEN_ACL and not self._may(path, node, op.WRITE, ids):
            raise RequestRefused(NO_AUTH)
        if self._limits_growth:
            self._grow(path, 0, (len(data) if data else 0) - (len(node.data) if node.data else 0))
        version = _next_version(node.version, expected)
        after = copy_of(node)
        after.data = data
        after.version = version
        after.mzxid = zxid
        after.mtime = time_ms
        self._put(path, node, after, zxid)
        return (path, data, version), body[: end - 4]

    def _create(self, kind: int, asked: CreateRequest, request: Request, zxid: int, time_ms: int) -> tuple[int, Record]:
        path, data, entries, flags, ttl_ms = asked
        if not op.PERSISTENT <= flags <= op.PERSISTENT_SEQUENTIAL_WITH_TTL:
            raise RequestRefused(BAD_ARGUMENTS)
        with_ttl = flags >= op.PERSISTENT_WITH_TTL
        if with_ttl and not self._extended_types:
            raise RequestRefused(UNIMPLEMENTED)
        # The opcode and the flags must agree: Apache 3.8 stores something unreadable where they do not.
        if with_ttl != (kind == op.CREATE_TTL) or (kind == op.CREATE_CONTAINER and flags != op.CONTAINER):
            raise RequestRefused(BAD_ARGUMENTS)
        if with_ttl and not 0 < ttl_ms <= MAX_TTL_MS:
            raise RequestRefused(BAD_ARGUMENTS)
        head, slash, _ = path.rpartition(b"/")
        if not slash or b"\0" in path:
            raise RequestRefused(BAD_ARGUMENTS)
        acl = self._fixed(entries, request.ids)
        parent_path = head or paths.ROOT
        parent = self._find(parent_path)
        if parent is None:
            raise RequestRefused(NO_NODE)
        if parent.acl is not OPEN_ACL:
            if not self._may(path, parent, op.CREATE_PERM, request.ids):
                raise RequestRefused(NO_AUTH)
            if is_of_quota(path):
                acl = unshared(acl)
        if flags in op.SEQUENTIAL_FLAGS:
            path += b"%010d" % parent.cversion
        if not paths.is_valid(path):
            raise RequestRefused(BAD_ARGUMENTS)
        if self._find(path) is not None:
            raise RequestRefused(NODE_EXISTS)
        if is_session(parent.owner):
            raise RequestRefused(NO_CHILDREN_FOR_EPHEMERALS)
        if self._limits_growth:
            self._grow(path, 1, len(data) if data else 0)
        ephemeral = flags in (op.EPHEMERAL, op.EPHEMERAL_SEQUENTIAL)
        after = copy_of(parent)
        after.cversion = parent_cversion = _wrap(parent.cversion + 1)
        after.pzxid = zxid
        after.child_count += 1
        self._put(parent_path, parent, after, zxid)
        owner = request.session_id if ephemeral else 0
        record: Record = (path, data, acl, ephemeral, parent_cversion)
        if kind == op.CREATE_CONTAINER:
            owner, record = CONTAINER_OWNER, (path, data, acl, parent_cversion)
        elif kind == op.CREATE_TTL:
            owner, record = ttl_owner(ttl_ms), (path, data, acl, parent_cversion, ttl_ms)
        self._put(path, None, new_znode(data, acl, zxid, time_ms, owner), zxid)
        return kind, record

    def _delete(self, path: bytes, expected: int, ids: Ids, zxid: int) -> Record:
        head, slash, _ = path.rpartition(b"/")
        if not slash or b"\0" in path or path in RESERVED:
            raise RequestRefused(BAD_ARGUMENTS)
        parent = self._find(head or paths.ROOT)
        if parent is None:
            raise RequestRefused(NO_NODE)
        if parent.acl is not OPEN_ACL and not self._may(path, parent, op.DELETE_PERM, ids):
            raise RequestRefused(NO_AUTH)
        node = self._find(path)
        if node is None:
            raise RequestRefused(NO_NODE)
        _next_version(node.version, expected)
        if child_count(node):
            raise RequestRefused(NOT_EMPTY)
        self._remove(path, node, zxid)
        return (path,)

    def _delete_container(self, path: bytes, zxid: int) -> Record:
        """The server's own delete of an empty container or of a znode whose TTL has run out."""
        node = self._find(path)
        if node is None:
            raise RequestRefused(NO_NODE)
        if node.owner == 0 or is_session(node.owner):
            raise RequestRefused(BAD_VERSION)
        if child_count(node):
            raise RequestRefused(NOT_EMPTY)
        self._remove(path, node, zxid)
        return (path,)

    def _grow(self, path: bytes, count: int, size: int) -> None:
        """Take `count` more znodes and `size` more bytes at `path`, if its limits allow that; else RequestRefused."""
        if self._enforce_quota and self.pending.exceeds_quota(path, count, size):
            raise RequestRefused(QUOTA_EXCEEDED)
        if self._store_is_full:
            freed = self._freed_bytes if self.pending.in_multi else 0
            freed -= size + count * (len(path) + ZNODE_BYTES)
            if freed < 0 and (size > 0 or count > 0):
                raise RequestRefused(QUOTA_EXCEEDED)
            self._freed_bytes = freed

    def _remove(self, path: bytes, node: ZNode, zxid: int) -> None:
        if self._limits_growth:
            self._freed_bytes += len(path) + (len(node.data) if node.data else 0) + ZNODE_BYTES
        parent_path = paths.parent(path)
        parent = self._find(parent_path)
        if parent is not None:
            after = copy_of(parent)
            after.pzxid = zxid
            after.child_count -= 1
            self._put(parent_path, parent, after, zxid)
        gone = copy_of(node)
        gone.exists = False
        self._put(path, node, gone, zxid)

    def _set_acl(self, path: bytes, entries: Acl | None, expected: int, ids: Ids, zxid: int) -> Record:
        if not paths.is_valid(path):
            raise RequestRefused(BAD_ARGUMENTS)
        acl = self._fixed(entries, ids)
        node = self._writable(path)
        if not self._may(path, node, op.ADMIN, ids):
            raise RequestRefused(NO_AUTH)
        if self._store_is_full and size_bytes(acl) > size_bytes(node.acl):
            raise RequestRefused(QUOTA_EXCEEDED)
        after = copy_of(node)
        after.acl = unshared(acl) if is_of_quota(path) else acl
        after.aversion = _next_version(node.aversion, expected)
        self._put(path, node, after, zxid)
        return path, acl, after.aversion

    def _check(self, path: bytes, expected: int, ids: Ids) -> Record:
        node, tree = self._writable(path), self._tree
        if not permits(node.acl, op.READ, ids) or (is_of_quota(path) and not tree.quota_permits(path, op.READ, ids)):
            raise RequestRefused(NO_AUTH)
        return path, _next_version(node.version, expected)

    def _close_session(self, request: Request, zxid: int) -> Generator[int, None, Record]:
        # ZooKeeper does not check whether the session has moved. But its client may have given up this connection and
        # resumed the session elsewhere.
        self._check_session(request)
        session_id = request.session_id
        self._tracker.mark_closing(session_id)
        owned = self.pending.owned_by(session_id)
        yield from self.pending.remove_all(owned, zxid)
        # The list is cut: a txn too large for the other servers would end them all, and each server that applies this
        # one deletes the session's other znodes as well.
        listed, most = len(owned), self._max_txn_bytes // 2
        if sum(map(len, owned)) + 4 * listed > most:
            listed = 0
            while most > 0:
                most -= len(owned[listed]) + 4
                listed += 1
        return (tuple(owned[:listed]),)

    def _multi(self, request: Request, zxid: int, time_ms: int) -> Generator[int, None, Record]:
        asked: list[MultiOp] = []
        for some in read_multi_slices(request.body, _SLICE):
            asked += some
            yield _SLICE_UNITS // 10
        pending = self.pending
        digest = pending.digest
        parts: list[tuple[int, Record]] = []
        pending.begin_multi()
        self._acl_bytes = self._freed_bytes = 0
        try:
            for begin in range(0, len(asked), _SLICE):
                for kind, body in asked[begin : begin + _SLICE]:
                    parts.append(self._part(kind, body, request, zxid, time_ms))
                yield _SLICE_UNITS
        except (RequestRefused, WireError) as error:
            pending.undo(zxid, digest)
            if not isinstance(error, RequestRefused):
                raise
            parts.append((op.ERROR, (error.code,)))
            parts += [(op.ERROR, (RUNTIME_INCONSISTENCY,))] * (len(asked) - len(parts))
        finally:
            pending.end_multi()
        return tuple(parts)

    def _part(self, kind: int, body: bytes, request: Request, zxid: int, time_ms: int) -> tuple[int, Record]:
        if kind in _CREATES:
            asked, _ = read_create_request(body, 0, kind == op.CREATE_TTL)
            flags = asked[3]
            if kind != op.CREATE_TTL and op.PERSISTENT_WITH_TTL <= flags <= op.PERSISTENT_SEQUENTIAL_WITH_TTL:
                raise WireError("a create with a TTL flag needs createTTL")
            if flags == op.CONTAINER and kind in (op.CREATE, op.CREATE2):
                kind = op.CREATE_CONTAINER  # only inside a multi do the flags say so
            kind, record = self._create(kind, asked, request, zxid, time_ms)
            return (op.CREATE if kind == op.CREATE2 else kind), record  # 3.8 cannot read create2 inside a multi
        if kind == op.SET_DATA:
            return kind, self._set_data(body, request.ids, zxid, time_ms)[0]
        return kind, self._simple(kind, body, request.ids, zxid, time_ms)

    def _fixed(self, entries: Acl | None, ids: Ids) -> Acl:
        """The ACL to store. Identities take the place of `auth`, so it may be far larger than the one asked for."""
        acl = fix_up(entries, ids)
        if acl is None:
            raise RequestRefused(INVALID_ACL)
        if acl is not OPEN_ACL:
            if not self.pending.in_multi:
                self._acl_bytes = 0
            self._acl_bytes += size_bytes(acl)
            if self._acl_bytes > self._max_txn_bytes // 4:
                raise RequestRefused(INVALID_ACL)
        return acl

    def _may(self, path: bytes, node: ZNode, perm: int, ids: Ids) -> bool:
        """Whether the znode's ACL permits this; whoever changes a quota needs ADMIN of the subtree, too."""
        if not permits(node.acl, perm, ids):
            return False
        return not is_of_quota(path) or self._tree.quota_permits(path, op.ADMIN, ids)

    def _writable(self, path: bytes) -> ZNode:
        node = self._find(path)
        if node is None:
            raise self._missing(path)
        return node

    def _missing(self, path: bytes) -> RequestRefused:
        return RequestRefused(NO_NODE if paths.is_valid(path) else BAD_ARGUMENTS)


def finish(slices: Generator[int, None, Record]) -> Record:
    """The result of slices that are all done at once."""
    while True:
        try:
            next(slices)
        except StopIteration as stop:
            record: Record = stop.value
            return record


def _next_version(current: int, expected: int) -> int:
    if expected not in (-1, current):
        raise RequestRefused(BAD_VERSION)
    return _wrap(current + 1)


def _wrap(number: int) -> int:
    """The number as a signed 32-bit counter that wraps."""
    return number if number <= 0x7FFFFFFF else number - (1 << 32)
