"""Requests against what is still under way."""

from itertools import pairwise

import pytest

from recipes.core.jute import opcodes as op
from recipes.core.jute.records import ACL, Id
from recipes.core.jute.requests import encode_create, encode_multi, encode_path_version
from recipes.core.standalone import Standalone
from recipes.core.tree.digest import node_digest
from recipes.core.tree.prepare import Preparer
from recipes.core.tree.request import Request
from recipes.core.tree.sessions import SessionTracker
from recipes.core.tree.tree import DataTree
from recipes.core.zxid import follows

OPEN = [ACL(31, Id("world", "anyone"))]
EPHEMERAL, PERSISTENT = 1, 0
LAST = (1 << 31) - 1


class Server:
    """A tree and its preparer; `prepare` leaves the txn under way until `apply`."""

    def __init__(self, **options):
        self.tree = DataTree()
        tracker = SessionTracker(1000)
        for session in (1, 2):
            tracker.add(session, 10_000, 0)
        self.preparer = Preparer(self.tree, tracker, **options)
        self.under_way = []

    def prepare(self, session, kind, body=b""):
        """The code of the error the txn is, or 0."""
        entry = self.preparer.prepare(Request(session, 1, kind, body), 1_700_000_000_000)
        self.under_way.append(entry)
        return entry.txn[5][0] if entry.txn[4] == op.ERROR else 0

    def create(self, path, session=1, flags=PERSISTENT, data=b""):
        return self.prepare(session, op.CREATE, encode_create(path, data, OPEN, flags))

    def delete(self, path, session=1):
        return self.prepare(session, op.DELETE, encode_path_version(path, -1))

    def apply(self):
        """Carry out what is under way; the digest that was foretold must come true."""
        results = []
        for entry in self.under_way:
            results.append(self.tree.apply(entry.txn))
            if entry.digest is not None:
                assert self.tree.digest == entry.digest
        self.preparer.applied(self.tree.last_zxid)
        self.under_way.clear()
        return results


def test_closing_a_session_spares_what_is_to_be_somebody_elses():
    server = Server()
    server.create(b"/a", flags=EPHEMERAL)
    server.create(b"/b", flags=EPHEMERAL)
    server.apply()
    server.delete(b"/a")
    server.create(b"/a", session=2)
    server.delete(b"/b")
    server.create(b"/b", session=2, flags=EPHEMERAL)
    server.prepare(1, op.CLOSE_SESSION)
    server.apply()
    assert {b"/a", b"/b"} <= dict(server.tree.items()).keys()
    assert server.tree.find(b"/b").owner == 2


def test_closing_a_session_takes_what_is_to_be_its_own():
    server = Server()
    server.create(b"/a")
    server.create(b"/b", flags=EPHEMERAL)
    server.apply()
    server.delete(b"/a")
    server.create(b"/a", flags=EPHEMERAL)
    server.create(b"/c", flags=EPHEMERAL)
    server.prepare(1, op.CLOSE_SESSION)
    listed = server.under_way[-1].txn[5][0]
    server.apply()
    assert sorted(listed) == [b"/a", b"/b", b"/c"]
    assert not {b"/a", b"/b", b"/c"} & dict(server.tree.items()).keys()


@pytest.mark.parametrize("flags", [5, 6])
def test_a_ttl_flag_in_a_plain_create_fails_a_multi_where_it_stands(flags):
    server = Server(extended_types=True)
    good, bad = encode_create(b"/good", b"", OPEN, 0), encode_create(b"/bad", b"", OPEN, flags)
    missing = encode_path_version(b"/missing", -1)
    assert server.prepare(1, op.MULTI, encode_multi([(op.CREATE, good), (op.CREATE, bad)])) == -5
    assert server.prepare(1, op.MULTI, encode_multi([(op.DELETE, missing), (op.CREATE, bad)])) == 0
    failed, parts = server.apply()
    assert failed[0] == -5
    assert [part[1] for part in parts[3]] == [-101, -2]
    assert b"/good" not in dict(server.tree.items())
    assert server.create(b"/good") == 0  # nothing of the failed multi is left under way
    server.apply()


def test_a_container_comes_from_the_opcode_or_inside_a_multi_from_the_flags():
    server = Server()
    server.create(b"/plain", flags=4)
    server.prepare(1, op.MULTI, encode_multi([(op.CREATE, encode_create(b"/box", b"", OPEN, 4))]))
    server.apply()
    assert list(server.tree.containers) == [b"/box"]


def test_the_sequence_wraps_and_goes_on():
    server = Server()
    server.create(b"/p")
    server.apply()
    node = server.tree.find(b"/p")
    server.tree.digest -= node_digest(b"/p", node)
    node.cversion = LAST
    server.tree.digest += node_digest(b"/p", node)
    server.preparer.pending.digest = server.tree.digest
    for _ in range(3):
        assert server.create(b"/p/s-", flags=2) == 0
    made = [result[1] for result in server.apply()]
    assert made == [b"/p/s-2147483647", b"/p/s--2147483648", b"/p/s--2147483647"]
    assert server.create(b"/p/s-", flags=2) == 0
    assert server.apply()[0][1] == b"/p/s--2147483646"


def test_a_hard_quota_counts_what_is_under_way():
    server = Server(enforce_quota=True)
    for path, data in (
        (b"/q", b""),
        (b"/zookeeper/quota/q", b""),
        (b"/zookeeper/quota/q/zookeeper_limits", b"countHardLimit=2,byteHardLimit=4"),
        (b"/zookeeper/quota/q/zookeeper_stats", b""),
    ):
        assert server.create(path, data=data) == 0
    server.apply()
    assert server.create(b"/q/a", data=b"xxx") == 0
    assert server.create(b"/q/b") == -125
    assert server.delete(b"/q/a") == 0
    assert server.create(b"/q/b", data=b"xxxxx") == -125
    assert server.create(b"/q/b", data=b"xxxx") == 0
    server.apply()
    assert server.tree.find(b"/zookeeper/quota/q/zookeeper_stats").data == b"count=2,bytes=4"
    assert server.create(b"/q/c") == -125


def test_a_server_alone_goes_on_in_the_next_epoch_when_one_has_no_more_zxids():
    server = Server()
    server.preparer.last_zxid = 0xFFFFFFFE
    replica = Standalone(0xFFFFFFFE)
    for path in (b"/a", b"/b", b"/c"):
        server.create(path)
        replica.propose(server.under_way[-1])
    zxids = [entry.zxid for entry in server.under_way]
    assert zxids == [0xFFFFFFFF, 0x1_00000001, 0x1_00000002]
    assert all(follows(before, zxid) for before, zxid in pairwise(zxids))  # as the log is read back


def test_no_txn_is_larger_than_the_other_servers_take():
    server = Server(max_txn_bytes=4000)
    for number in range(100):
        server.create(b"/ephemeral-%040d" % number, flags=EPHEMERAL)
    server.apply()
    assert server.prepare(1, op.CLOSE_SESSION) == 0
    assert len(server.under_way[-1].payload) < 4000
    server.apply()
    assert not server.tree.ephemerals
    assert server.tree.count == 4  # those that are always there


def test_acls_grown_by_who_asks_make_no_txn_that_is_too_large():
    server = Server(max_txn_bytes=4000)
    ids = ((b"digest", b"me:" + b"x" * 400),)
    auth = [ACL(31, Id("auth", ""))]

    def multi(count):
        body = encode_multi([(op.CREATE, encode_create(b"/%d" % number, b"", auth, 0)) for number in range(count)])
        entry = server.preparer.prepare(Request(2, 1, op.MULTI, body, ids), 1_700_000_000_000)
        server.under_way.append(entry)
        return [record[0] for kind, record in entry.txn[5] if kind == op.ERROR]

    assert multi(3) == [-114]
    assert multi(2) == []
    create = encode_create(b"/large", b"", [ACL(perms, Id("auth", "")) for perms in range(1, 4)], 0)
    assert server.preparer.prepare(Request(2, 1, op.CREATE, create, ids), 0).txn[5] == (-114,)
