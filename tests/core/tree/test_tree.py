"""The tree's digest against Apache's log, idempotent replay, and the Stat fields that are not what they seem."""

import pytest

from recipes.core.jute import opcodes as op
from recipes.core.jute.records import STAT, Stat
from recipes.core.jute.txns import decode_txn
from recipes.core.member.config import MemberConfig
from recipes.core.member.member import Member
from recipes.core.standalone import Standalone
from recipes.core.tree.acl import OPEN_ACL
from recipes.core.tree.tree import NO_NODE, NODE_EXISTS, DataTree
from recipes.core.tree.znode import pack_stat, ttl_of

# The records of a log Apache ZooKeeper 3.8.0 wrote, each with the tree's digest at its end.
LOG = [
    "0100000e74170000000000000000000100000001000001a208df36a5fffffff600004e20000000020000000051c6d660",
    "0100000e74170000000000010000000100000002000001a208df36f600000001000000022f610000000568656c6c6f000000010000001f000000"
    "05776f726c6400000006616e796f6e65000000000100000002000000013f5471bf",
    "0100000e74170000000000020000000100000003000001a208df374700000005000000022f6100000005776f726c640000000100000002000000"
    "01e658e555",
    "0100000e74170000000000030000000100000004000001a208df384000000001000000042f6f62730000000178000000010000001f0000000577"
    "6f726c6400000006616e796f6e65000000000200000002000000020ef6b64d",
    "0400000000123456000000000000000100000005000001a208df3846fffffff60000753000000002000000020ef6b64d",
    "0400000000123456000000070000000100000006000001a208df384a00000001000000082f66726f6d6f627300000003667764000000010000"
    "001f00000005776f726c6400000006616e796f6e6501000000030000000200000002d1e3f8ad",
    "0400000000123456000000090000000100000007000001a208df3850ffffffffffffff9b",
    "04000000001234560000000a0000000100000008000001a208df3857fffffff500000001000000082f66726f6d6f62730000000200000001ba"
    "559409",
    "0100000e74170000000000040000000100000009000001a208df386300000005000000022f61000000027a310000000200000002000000"
    "0195e9bac9",
    "0100000e7417000000000065000000010000000a000001a208df387a00000001000000032f66310000000176000000010000001f0000000577"
    "6f726c6400000006616e796f6e6500000000040000000200000002270f55e5",
    "0100000e7417000000000000000000010000000b000001a208df895dfffffff5000000000000000200000002270f55e5",
]


def stat(tree, path):
    return Stat._make(STAT.unpack(pack_stat(tree.find(path))))


def test_the_digest_follows_apaches_log():
    tree = DataTree()
    assert tree.digest == 0x51C6D660
    for payload in LOG:
        txn, digest = decode_txn(bytes.fromhex(payload))
        tree.apply(txn)
        assert digest is None or tree.digest == digest
    assert tree.last_zxid == 0x10000000B
    assert tree.sessions == {}
    assert [path for path, _ in tree.items() if not path.startswith(b"/zookeeper")] == [b"/", b"/a", b"/obs", b"/f1"]


def test_applying_again_over_a_fuzzy_snapshot_changes_nothing():
    tree = DataTree()
    txns = [decode_txn(bytes.fromhex(payload))[0] for payload in LOG]
    for txn in txns:
        tree.apply(txn)
    digest, nodes = tree.digest, list(dict(tree.items()))
    for txn in txns[-3:]:
        tree.apply(txn)
    assert (tree.digest, list(dict(tree.items()))) == (digest, nodes)


def test_fresh_stats():
    tree = DataTree()
    assert (stat(tree, b"/").cversion, stat(tree, b"/").num_children) == (-1, 1)
    assert (stat(tree, b"/zookeeper").cversion, stat(tree, b"/zookeeper").num_children) == (-2, 2)
    assert stat(tree, b"/zookeeper/config").aversion == -1


def test_interop_3_the_servers_of_the_ensemble_are_shown_with_the_stat_that_apache_gives_them():
    tree = DataTree()
    digest = tree.digest
    Member(MemberConfig(ensemble=b"server.1=a:1:2"), tree, Standalone(0), 0, 1_700_000_000_000)
    shown = stat(tree, b"/zookeeper/config")
    assert (shown.version, shown.mtime, shown.aversion, shown.data_length) == (-1, 1_700_000_000_000, -1, 14)
    assert tree.digest == digest  # each server's own


def test_what_cannot_be_done_is_a_result():
    tree = DataTree()
    create = (b"/a", b"", OPEN_ACL, False, 1)
    assert tree.apply((1, 1, 1, 5, op.CREATE, create))[0] == 0
    assert tree.apply((1, 1, 2, 5, op.CREATE, create))[0] == NODE_EXISTS
    assert tree.apply((1, 1, 3, 5, op.DELETE, (b"/b",)))[0] == NO_NODE
    assert tree.apply((1, 1, 4, 5, op.CREATE, (b"/x/y", b"", OPEN_ACL, False, 1)))[0] == NO_NODE
    assert tree.last_zxid == 4


@pytest.mark.parametrize(
    ("kind", "record"),
    [(op.CREATE_CONTAINER, (b"/c", b"", OPEN_ACL, 1)), (op.CREATE_TTL, (b"/c", b"", OPEN_ACL, 1, 60000))],
)
def test_containers_and_ttls_show_no_owner(kind, record):
    tree = DataTree()
    tree.apply((7, 1, 1, 5, kind, record))
    assert tree.find(b"/c").owner < 0
    assert stat(tree, b"/c").ephemeral_owner == 0
    assert (ttl_of(tree.find(b"/c").owner) == 60000) == (kind == op.CREATE_TTL)


def test_a_closed_session_takes_its_ephemerals_along():
    tree = DataTree()
    tree.apply((7, 0, 1, 5, op.CREATE_SESSION, (9000,)))
    tree.apply((7, 1, 2, 5, op.CREATE, (b"/e", b"", OPEN_ACL, True, 1)))
    assert tree.ephemerals == {7: {b"/e": None}}
    tree.apply((7, 0, 3, 5, op.CLOSE_SESSION, (None,)))
    assert b"/e" not in dict(tree.items())
    assert (tree.ephemerals, tree.sessions) == ({}, {})
