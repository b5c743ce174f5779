"""Replies that are large, and many: a client gets them all, and the server never holds more than some of them."""

import pytest

from recipes.core.codes import BAD_ARGUMENTS
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int, write_buffer
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import OPEN_ACL, ConnectRequest, encode_connect_request
from recipes.core.jute.requests import MULTI_END, pack_multi_header
from recipes.core.member.config import MemberConfig
from recipes.core.member.member import Member
from recipes.core.standalone import Standalone
from recipes.core.tree.tree import DataTree

LARGE = bytes(1 << 20)
HELLO = frame(encode_connect_request(ConnectRequest(0, 10_000, 0, bytes(16))))


def member_with_a_large_znode() -> Member:
    tree = DataTree()
    tree.apply((0, 0, 1, 0, op.CREATE, (b"/large", LARGE, OPEN_ACL, False, 1)))
    return Member(MemberConfig(), tree, Standalone(1), 0, 0)


def get(xid: int) -> bytes:
    return frame(pack_int(xid) + pack_int(op.GET_DATA) + write_buffer(b"/large") + b"\0")


def write(member: Member) -> None:
    for entry in member.take_writes():
        member.flushed(entry.zxid)


def session():
    member = member_with_a_large_znode()
    connection = member.connect(("127.0.0.1", 1))
    connection.receive(HELLO)
    write(member)
    connection.out.clear()
    return member, connection


def in_parts(connection, most: int) -> list[int]:
    """The xids of all replies, of which the connection never holds more than `most`."""
    reader, xids = FrameReader(None), []
    while True:
        replies = reader.feed(b"".join(connection.out))
        connection.out.clear()
        assert len(replies) <= most
        xids += [int.from_bytes(reply[:4], "big") for reply in replies]
        if not connection.stopped:
            return xids
        assert connection.paused
        connection._member.begin_turn(0, 0)
        connection.go_on()


def test_many_gets_of_a_large_znode_are_answered_a_few_at_a_time():
    _, connection = session()
    connection.receive(b"".join(get(xid) for xid in range(1, 101)) + get(101)[:7])
    assert in_parts(connection, 6) == list(range(1, 101))
    connection.receive(get(101)[7:])
    assert len(connection.out) == 1


def test_what_comes_before_there_is_a_session_is_not_read_without_end():
    member = member_with_a_large_znode()
    connection = member.connect(("127.0.0.1", 1))
    connection.receive(HELLO + get(1))
    assert connection.paused
    connection.go_on()
    assert connection.out == []
    write(member)
    assert not connection.paused
    assert len(connection.out) == 2


def test_a_multi_read_of_more_than_a_client_can_take_fails():
    _, connection = session()
    part = pack_multi_header(op.GET_DATA, -1) + write_buffer(b"/large") + b"\0"
    for count, err in ((7, 0), (8, BAD_ARGUMENTS)):
        connection._member.begin_turn(0, 0)
        connection.receive(frame(pack_int(1) + pack_int(op.MULTI_READ) + part * count + MULTI_END))
        (reply,) = connection.out
        connection.out.clear()
        assert int.from_bytes(reply[16:20], "big", signed=True) == err


@pytest.mark.parametrize("first", [op.SYNC, op.DELETE])
def test_what_waits_for_a_write_or_a_sync_becomes_due_in_parts(first):
    member, connection = session()
    body = write_buffer(b"/none") + (b"" if first == op.SYNC else pack_int(-1))
    other = member.connect(("127.0.0.1", 2))
    other.receive(HELLO)  # a write ahead of all, so that a sync has something to wait for
    connection.receive(frame(pack_int(0) + pack_int(first) + body) + b"".join(get(xid) for xid in range(1, 251)))
    assert connection.paused and connection.out == []
    connection.go_on()
    assert connection.out == []
    write(member)
    assert in_parts(connection, 101) == list(range(251))
