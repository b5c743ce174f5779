"""Packets of the quorum port: Apache's bytes read and written back, any cut, and bounds before allocation."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.core.errors import WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute import quorum
from recipes.core.jute.quorum import Packet, PacketReader, encode_packet

LIMIT = 100_000
SIGNATURE = b"\x00\x00\x00\x0aBenWasHere"
EMPTY_TREE = bytes(8) + b"\x00\x00\x00\x01/"


def read(data: bytes, limit: int = LIMIT) -> list[Packet]:
    return PacketReader(limit).feed(data)


def write(packet: Packet) -> bytes:
    if packet.type == quorum.SNAP:
        assert packet.data is not None
        return encode_packet(packet.type, packet.zxid) + packet.data + SIGNATURE
    return encode_packet(*packet)


def test_apaches_packets_are_read_and_written_back(quorum_port):
    assert len(quorum_port) == 27
    for title, raw in quorum_port.items():
        (packet,) = read(raw)
        assert write(packet) == raw, title


def test_apaches_stream_is_the_same_however_it_is_cut(quorum_port):
    stream = b"".join(quorum_port.values())
    whole = read(stream)
    assert len(whole) == 27
    for size in (1, 3, 64, 1000):
        reader, found = PacketReader(LIMIT), []
        for at in range(0, len(stream), size):
            found += reader.feed(stream[at : at + size])
        assert found == whole
    for cut in range(len(stream)):
        reader = PacketReader(LIMIT)
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == whole


def test_nothing_comes_out_before_the_last_byte(quorum_port):
    for raw in quorum_port.values():
        assert all(read(raw[:cut]) == [] for cut in range(len(raw)))


def test_what_apaches_packets_say(quorum_port):
    def data(title: str) -> bytes | None:
        return read(quorum_port[title])[0].data

    assert read(quorum_port["UPTODATE"]) == [Packet(quorum.UPTODATE, -1)]
    assert read(quorum_port["COMMIT 1:10"]) == [Packet(quorum.COMMIT, 0x1_0000000A)]
    assert quorum.decode_learner_info(data("FOLLOWERINFO, Apache sid 2, acc 0")) == (2, 0x10000, 0, False)
    assert quorum.decode_leader_info(data("LEADERINFO epoch 1")) is False
    assert quorum.decode_epoch(data("ACKEPOCH, Apache, cur 0, zxid 0")) == 0
    snap = read(quorum_port["SNAP 1:3 and its tree: 1 session, 2 ACLs, 5 nodes"])[0]
    assert (snap.type, snap.zxid) == (quorum.SNAP, 0x1_00000003)
    assert snap.data is not None
    assert snap.data.endswith(b"\x00\x00\x00\x01/")
    (create,) = read(quorum_port["REQUEST create /viapy from Apache follower 1"])
    assert create.ids == ((b"ip", b"127.0.0.1"),)
    session_id, cxid, kind, body = quorum.decode_request(create.data)
    assert (session_id, cxid, kind) == (0x010000107C2E0000, 3, op.CREATE)
    assert body.startswith(b"\x00\x00\x00\x06/viapy")
    (session,) = read(quorum_port["REQUEST createSession from Apache follower 1"])
    assert session.ids is None
    assert quorum.decode_request(session.data) == (0x010000107C2E0000, 0, op.CREATE_SESSION, struct.pack(">i", 20000))
    assert quorum.decode_revalidate(data("REVALIDATE request, ours")) == (0x0400000000123456, 30000)
    assert quorum.decode_revalidated(data("REVALIDATE answer valid")) == (0x0400000000123456, True)
    assert quorum.decode_revalidated(data("REVALIDATE answer invalid")) == (0x999, False)
    ping = data("PING Apache follower to leader, one session touched")
    assert quorum.decode_touches(ping) == [(0x0300000000000001, 30000)]


def test_what_apache_sends_can_be_said(quorum_port):
    def says(title: str, data: bytes) -> bool:
        return read(quorum_port[title])[0].data == data

    assert says("FOLLOWERINFO, Apache sid 2, acc 0", quorum.encode_learner_info(2, ours=False))
    assert says("LEADERINFO epoch 1", quorum.encode_leader_info(ours=False))
    assert says("ACKEPOCH, Apache, cur 0, zxid 0", quorum.encode_epoch(0))
    assert says("REVALIDATE request, ours", quorum.encode_revalidate(0x0400000000123456, 30000))
    assert says("REVALIDATE answer valid", quorum.encode_revalidated(0x0400000000123456, True))
    touched = [(0x0300000000000001, 30000)]
    assert says("PING Apache follower to leader, one session touched", quorum.encode_touches(touched))


def test_a_request_is_said_as_apache_says_it_whatever_ids_the_one_before_had(quorum_port):
    captured = quorum_port["REQUEST closeSession"]
    ids = read(captured)[0].ids
    writer = quorum.RequestWriter()
    for before in (None, ids, ((b"ip", b"10.0.0.1"),)):
        writer.encode(1, 1, op.SET_DATA, b"x", before)
        assert writer.encode(0x010000107C2E0000, 5, op.CLOSE_SESSION, b"", ids) == captured
    assert ids != ((b"ip", b"10.0.0.1"),)


def test_our_servers_know_each_other():
    assert quorum.decode_learner_info(quorum.encode_learner_info(7, 3)) == (7, 0x10000, 3, True)
    assert quorum.decode_leader_info(quorum.encode_leader_info()) is True


@pytest.mark.parametrize("data", [None, b"", bytes(12), struct.pack(">qiq", 1, 1, 0)])
def test_an_old_handshake_is_refused(data):
    with pytest.raises(WireError):
        quorum.decode_learner_info(data)


@pytest.mark.parametrize("data", [None, b"", b"\x00\x00\x01"])
def test_data_cut_short_is_refused(data):
    for decode in (
        quorum.decode_leader_info,
        quorum.decode_epoch,
        quorum.decode_request,
        quorum.decode_revalidate,
        quorum.decode_revalidated,
    ):
        with pytest.raises(WireError):
            decode(data)


def test_touches_come_whole():
    assert quorum.decode_touches(b"") == []
    for data in (None, bytes(11), bytes(13)):
        with pytest.raises(WireError):
            quorum.decode_touches(data)


strings = st.binary(max_size=12)
packets = st.builds(
    Packet,
    st.integers(0, 30).filter(lambda kind: kind != quorum.SNAP),
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.binary(max_size=50),
    st.none() | st.lists(st.tuples(strings, strings), max_size=4).map(tuple),
)
sessions = st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1)), max_size=5)


def acl(entries: list[tuple[int, bytes, bytes]]) -> bytes:
    raw = b"".join(struct.pack(f">ii{len(s)}si{len(i)}s", p, len(s), s, len(i), i) for p, s, i in entries)
    return struct.pack(">qi", 1, len(entries)) + raw


def node(path: bytes, data: bytes | None) -> bytes:
    raw = struct.pack(f">i{len(path)}si", len(path), path, -1 if data is None else len(data))
    return raw + (data or b"") + bytes(68)


acls = st.lists(st.builds(acl, st.lists(st.tuples(st.integers(0, 31), strings, strings), max_size=3)), max_size=3)
nodes = st.lists(st.builds(node, strings.filter(lambda path: path != b"/"), st.none() | st.binary(max_size=40)))


@st.composite
def dumps(draw: st.DrawFn) -> Packet:
    held, rights = draw(sessions), draw(acls)
    body = struct.pack(">i", len(held)) + quorum.encode_touches(held) + struct.pack(">i", len(rights))
    body += b"".join(rights) + b"".join(draw(nodes)) + b"\x00\x00\x00\x01/"
    return Packet(quorum.SNAP, draw(st.integers(0, 2**63 - 1)), body)


@given(st.lists(packets | dumps(), max_size=6), st.lists(st.integers(0, 60), max_size=40))
def test_any_cut_gives_the_same_packets(sent, cuts):
    stream = b"".join(write(packet) for packet in sent)
    reader, found, at = PacketReader(LIMIT), [], 0
    for cut in [*cuts, len(stream)]:
        found += reader.feed(stream[at : at + cut])
        at += cut
    assert found == sent


@given(sessions)
def test_touches_round_trip(pairs):
    assert quorum.decode_touches(quorum.encode_touches(pairs)) == pairs


@given(st.binary(max_size=200), st.booleans())
def test_rubbish_raises_nothing_but_wire_errors(data, behind_a_snap):
    try:
        read((encode_packet(quorum.SNAP, 1) if behind_a_snap else b"") + data)
    except WireError:
        pass


HEAD = struct.Struct(">iqi")
SNAP = encode_packet(quorum.SNAP, 1)


@pytest.mark.parametrize(
    "data",
    [
        HEAD.pack(quorum.PROPOSAL, 1, LIMIT + 1) + bytes(4),
        HEAD.pack(quorum.PROPOSAL, 1, -2) + bytes(4),
        HEAD.pack(quorum.REQUEST, 1, -1) + struct.pack(">i", -2),
        HEAD.pack(quorum.REQUEST, 1, -1) + struct.pack(">i", LIMIT + 1),
        HEAD.pack(quorum.REQUEST, 1, -1) + struct.pack(">i", LIMIT // 8 + 1),
        HEAD.pack(quorum.REQUEST, 1, -1) + struct.pack(">ii", 1, LIMIT + 1),
        HEAD.pack(quorum.REQUEST, 1, -1) + struct.pack(">ii", 1, -1),
        HEAD.pack(quorum.REQUEST, 1, -1) + struct.pack(">ii", 3, LIMIT),
        SNAP + struct.pack(">i", -1),
        SNAP + struct.pack(">ii", 0, -1),
        SNAP + struct.pack(">iiqi", 0, 1, 1, -1),
        SNAP + struct.pack(">iiqi", 0, 1, 1, LIMIT),
        SNAP + struct.pack(">iii", 0, 0, -1),
        SNAP + struct.pack(">iii", 0, 0, LIMIT + 1),
        SNAP + struct.pack(">iii", 0, 0, 0) + struct.pack(">i", -2),
        SNAP + struct.pack(">iii", 0, 0, 0) + struct.pack(">i", LIMIT + 1),
        SNAP + EMPTY_TREE + b"\x00\x00\x00\x0aBenWasThere",
    ],
)
def test_an_unreasonable_length_is_refused_before_its_bytes(data):
    with pytest.raises(WireError):
        read(data)


def test_the_longest_data_is_accepted():
    longest = Packet(quorum.PROPOSAL, 1, bytes(LIMIT), ((b"ip", b"a"),))
    assert read(encode_packet(*longest)) == [longest]


def test_a_tree_may_be_larger_than_any_limit_of_its_parts():
    body = bytes(8) + node(b"", b"x" * 60) * 100 + b"\x00\x00\x00\x01/"
    assert read(SNAP + body + SIGNATURE, limit=64) == [Packet(quorum.SNAP, 1, body)]


def test_many_sessions_and_a_large_znode_cut_small_cost_what_they_weigh():
    body = struct.pack(">i", 20_000) + bytes(240_000) + struct.pack(">i", 0)
    body += node(b"/a", bytes(LIMIT)) + b"\x00\x00\x00\x01/"
    reader, found = PacketReader(LIMIT), []
    stream = SNAP + body + SIGNATURE
    for at in range(len(stream)):
        found += reader.feed(stream[at : at + 1])
    assert found == [Packet(quorum.SNAP, 1, body)]
