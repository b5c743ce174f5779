"""Txns against bytes captured from Apache ZooKeeper 3.8.0, and through random round trips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.core.errors import WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int
from recipes.core.jute.txns import decode_txn, encode_digest, encode_txn, payload_zxid
from recipes.core.tree.tree import DataTree

OPEN = ((31, b"world", b"anyone"),)

# By ZooKeeper 3.9.5, which writes this part: a create2 inside of a multi is a create in 3.8.
OF_3_9 = (
    op.MULTI,
    (
        (op.CREATE2, (b"/a", b"1", OPEN, True, 1)),
        (op.SET_DATA, (b"/a", b"2", 1)),
        (op.CREATE_TTL, (b"/t", b"", OPEN, 2, 9)),
    ),
)

# Captured: (bytes, type, record, digest)
GOLDEN = {
    "create2": (
        "0100001474870000000000020000000000000003000001a208e53cbf0000000f0000000f2f612f732d303030303030303030300000000000"
        "0000010000001f00000005776f726c6400000006616e796f6e6500000000010000000200000001"
        "1a9d181e",
        op.CREATE2,
        (b"/a/s-0000000000", b"", OPEN, False, 1),
        0x11A9D181E,
    ),
    "container": (
        "0100001474870000000000040000000000000005000001a208e53cca00000013000000022f6300000000000000010000001f00000005776f"
        "726c6400000006616e796f6e65000000030000000200000001fdddfe7c",
        op.CREATE_CONTAINER,
        (b"/c", b"", OPEN, 3),
        0x1FDDDFE7C,
    ),
    "ttl": (
        "0100001474870000000000050000000000000006000001a208e53cd000000015000000022f740000000178000000010000001f0000000577"
        "6f726c6400000006616e796f6e6500000004000000000000ea600000000200000002d6de92f8",
        op.CREATE_TTL,
        (b"/t", b"x", OPEN, 4, 60000),
        0x2D6DE92F8,
    ),
    "set_acl": (
        "0100001474870000000000060000000000000007000001a208e53cd500000007000000022f61000000010000000100000005776f726c6400"
        "000006616e796f6e65000000010000000200000002ebb386b5",
        op.SET_ACL,
        (b"/a", ((1, b"world", b"anyone"),), 1),
        0x2EBB386B5,
    ),
    "error": (
        "0100001474870000000000070000000000000008000001a208e53cd9ffffffffffffff9a",
        op.ERROR,
        (-102,),
        None,
    ),
    "multi": (
        "0100001474870000000000080000000000000009000001a208e53ce10000000e000000040000000d0000000a000000022f74000000010000"
        "00010000002b000000022f6d0000000131000000010000001f00000005776f726c6400000006616e796f6e65000000000500000005000000"
        "0f000000022f6d0000000132000000010000000200000006000000022f630000000200000002e883c601",
        op.MULTI,
        (
            (op.CHECK, (b"/t", 1)),
            (op.CREATE, (b"/m", b"1", OPEN, False, 5)),
            (op.SET_DATA, (b"/m", b"2", 1)),
            (op.DELETE, (b"/c",)),
        ),
        0x2E883C601,
    ),
    "failed_multi": (
        "010000147487000000000009000000000000000a000001a208e53ce90000000e00000002000000010000002c000000032f6d320000000131"
        "000000010000001f00000005776f726c6400000006616e796f6e650000000006ffffffff00000004ffffff9b0000000200000002e883c601",
        op.MULTI,
        ((op.CREATE, (b"/m2", b"1", OPEN, False, 6)), (op.ERROR, (-101,))),
        0x2E883C601,
    ),
    "delete": (
        "01000014748700000000000b000000000000000c000001a208e53cee00000002000000022f6d0000000200000002c9c70605",
        op.DELETE,
        (b"/m",),
        0x2C9C70605,
    ),
    "close_session": (
        "01000014748700000000000d000000000000000e000001a208e53cf1fffffff500000001000000022f6500000002000000025dc91812",
        op.CLOSE_SESSION,
        ((b"/e",),),
        0x25DC91812,
    ),
    "create": (
        "0100001474870000000000010000000000000002000001a208e53ca900000001000000022f610000000568656c6c6f000000010000001f00"
        "000005776f726c6400000006616e796f6e6500000000010000000200000000ed7f9c37",
        op.CREATE,
        (b"/a", b"hello", OPEN, False, 1),
        0xED7F9C37,
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_captured_bytes_decode_and_encode_identically(name):
    captured, kind, record, digest = GOLDEN[name]
    payload = bytes.fromhex(captured)
    txn, found = decode_txn(payload)
    assert txn[4:] == (kind, record)
    assert found == digest
    assert payload_zxid(payload) == txn[2]
    assert encode_txn(*txn) + (b"" if digest is None else encode_digest(digest)) == payload


@pytest.mark.parametrize("name", GOLDEN)
def test_a_txn_cut_short_is_never_read_as_another(name):
    payload = bytes.fromhex(GOLDEN[name][0])
    whole, digest = decode_txn(payload)
    body_end = len(payload) - (0 if digest is None else 12)
    for length in range(body_end):
        try:
            txn, _ = decode_txn(payload[:length])
        except WireError:
            continue
        # A create may lose its last field (that is how 3.3 wrote it), a closeSession its list.
        assert txn[4] in (op.CREATE, op.CREATE2, op.CLOSE_SESSION)
        assert txn[5][-1] in (-1, None)
        assert txn != whole


def test_types_that_no_log_may_hold_are_refused():
    with pytest.raises(WireError, match="check"):
        decode_txn(encode_txn(1, 2, 3, 4, op.CHECK, (b"/a", 1)))
    with pytest.raises(WireError, match="unknown type 77"):
        decode_txn(encode_txn(1, 2, 3, 4, op.ERROR, (0,))[:28] + (77).to_bytes(4, "big"))


paths = st.binary(max_size=20)
data = st.none() | st.binary(max_size=40)
ints = st.integers(-(2**31), 2**31 - 1)
longs = st.integers(-(2**63), 2**63 - 1)
acls = st.lists(st.tuples(ints, st.binary(max_size=8), st.binary(max_size=8)), max_size=3).map(tuple)
plain = st.one_of(
    st.tuples(st.just(op.CREATE), st.tuples(paths, data, acls, st.booleans(), ints)),
    st.tuples(st.just(op.CREATE_CONTAINER), st.tuples(paths, data, acls, ints)),
    st.tuples(st.just(op.CREATE_TTL), st.tuples(paths, data, acls, ints, longs)),
    st.tuples(st.just(op.DELETE), st.tuples(paths)),
    st.tuples(st.just(op.SET_DATA), st.tuples(paths, data, ints)),
    st.tuples(st.just(op.ERROR), st.tuples(ints)),
)
txns = st.one_of(
    plain,
    st.tuples(st.just(op.SET_ACL), st.tuples(paths, acls, ints)),
    st.tuples(st.just(op.CREATE_SESSION), st.tuples(ints)),
    st.tuples(st.just(op.CLOSE_SESSION), st.tuples(st.lists(paths, max_size=4).map(tuple))),
    st.tuples(st.just(op.MULTI), st.lists(plain, max_size=4).map(tuple)),
)


@given(longs, ints, longs, longs, txns, st.integers(0, 2**64 - 1))
def test_round_trip(session_id, cxid, zxid, time_ms, txn, digest):
    kind, record = txn
    payload = encode_txn(session_id, cxid, zxid, time_ms, kind, record) + encode_digest(digest)
    assert decode_txn(payload) == ((session_id, cxid, zxid, time_ms, kind, record), digest)


def test_interop_1_a_create2_inside_of_a_multi_is_read():
    payload = encode_txn(7, 1, 5, 0, *OF_3_9)
    assert decode_txn(payload)[0] == (7, 1, 5, 0, *OF_3_9)
    tree = DataTree()
    applied = tree.apply(decode_txn(payload)[0])
    assert (tree.nodes[b"/a"].data, tree.nodes[b"/a"].owner) == (b"2", 7)
    assert [part[0] for part in applied[3]] == [op.CREATE2, op.SET_DATA, op.CREATE_TTL]
    as_3_8 = DataTree()
    as_3_8.apply(decode_txn(payload.replace(pack_int(op.CREATE2), pack_int(op.CREATE), 1))[0])
    assert tree.digest == as_3_8.digest


@pytest.mark.parametrize("kind", [0, 7, 16, 22, 99, -10, -11])
def test_interop_1_a_part_of_an_unknown_type_is_named(kind):
    payload = encode_txn(7, 1, 5, 0, op.MULTI, ((op.DELETE, (b"/a",)),)).replace(
        pack_int(1) + pack_int(op.DELETE), pack_int(1) + pack_int(kind)
    )
    with pytest.raises(WireError, match=f"multi txn with a part of type {kind}$"):
        decode_txn(payload)
