"""A conversation captured from Apache ZooKeeper 3.8.0: the member, fed the client's frames, gives the server's."""

from pathlib import Path

import pytest

from recipes.core.jute import requests as rq
from recipes.core.jute.codec import pack_int
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.opcodes import SET_DATA
from recipes.core.jute.records import ConnectRequest, encode_connect_request
from recipes.core.member.config import MemberConfig
from recipes.core.member.member import Member
from recipes.core.standalone import Standalone
from recipes.core.tree.tree import DataTree

CAPTURED_ID = bytes.fromhex("01000012515b0000")
CAPTURED_PASSWORD = bytes.fromhex("0703eab788c56436bd16c16311c58265")
TIME_PREFIX = bytes.fromhex("000001a208e3")
WHO_AM_I, LAST_HANDSHAKE = 33, 64  # the order of identities is free; the session there has an id of its own


def frames():
    lines = (Path(__file__).parent / "transcript.txt").read_text().splitlines()
    for line in lines:
        if not line.startswith("#"):
            number, direction, data = line.split()
            yield int(number), direction, bytes.fromhex(data)


def without_times(data):
    at = data.find(TIME_PREFIX)
    while at >= 0:
        data = data[:at] + b"--time--" + data[at + 8 :]
        at = data.find(TIME_PREFIX)
    return data


class Server:
    def __init__(self):
        config = MemberConfig(
            tick_ms=2000, min_session_timeout_ms=4000, max_session_timeout_ms=40000, extended_types=True
        )
        wall_ms = int.from_bytes(TIME_PREFIX + b"\x87\xa1", "big")
        self.member = Member(config, DataTree(), Standalone(0), 0, wall_ms)

    def connect(self):
        return self.member.connect(("127.0.0.1", 1))

    def receive(self, connection, data, cut):
        for at in range(0, len(data), cut):
            connection.receive(data[at : at + cut])
            writes = self.member.take_writes()
            if writes:
                self.member.flushed(writes[-1].zxid)


@pytest.mark.parametrize("cut", [1, 7, 10**6])
def test_the_member_answers_as_apache_did(cut):
    server = Server()
    connection, reader, replies = None, None, []
    own_id, own_password, checked = None, None, 0
    for number, direction, data in frames():
        if number == 9:
            other = server.connect()
            server.receive(other, frame(encode_connect_request(ConnectRequest(0, 10000, 0, bytes(16)))), cut)
            server.receive(
                other, frame(pack_int(1) + pack_int(SET_DATA) + rq.encode_set_data(b"/golden", b"v1", 0)), cut
            )
        if own_id is not None:
            data = data.replace(CAPTURED_ID, own_id).replace(CAPTURED_PASSWORD, own_password)
        if direction == "C>S":
            if len(data) in (48, 49):
                connection, reader = server.connect(), FrameReader()
            server.receive(connection, data, cut)
            continue
        replies += reader.feed(b"".join(connection.out))
        connection.out.clear()
        reply = frame(replies.pop(0))
        if number == 2:
            own_id, own_password = reply[12:20], reply[24:40]
            data = data.replace(CAPTURED_ID, own_id).replace(CAPTURED_PASSWORD, own_password)
        if number == WHO_AM_I:
            assert sorted(reply) == sorted(data)
        elif number == LAST_HANDSHAKE:
            assert len(reply) == len(data)
            assert reply[:12] == data[:12]
        else:
            assert without_times(reply) == without_times(data), number
        checked += 1
    assert checked == 34


def test_an_unknown_operation_ends_the_connection():
    server = Server()
    connection = server.connect()
    for _, direction, data in list(frames())[-4:]:
        if direction == "C>S":
            server.receive(connection, data, 10**6)
    assert connection.wants_close
