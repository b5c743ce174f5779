"""The odd cases of sessions, the same at both servers: who gets one, for how long, and how it moves."""

from __future__ import annotations

import socket
import struct

import pytest

OPEN_ACL = bytes.fromhex("000000010000001f00000005776f726c6400000006616e796f6e65")
CLOSED = b""
EXPIRED = struct.pack(">iqi", 0, 0, 16) + bytes(17)  # timeout, session, password, not read-only


def handshake(port: int, session_id: int = 0, password: bytes | None = bytes(16), zxid: int = 0) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    secret = struct.pack(">i", -1) if password is None else struct.pack(">i", len(password)) + password
    payload = struct.pack(">iqiq", 0, zxid, 10_000, session_id) + secret + b"\0"
    sock.sendall(struct.pack(">i", len(payload)) + payload)
    return sock


def answer(sock: socket.socket) -> bytes:
    """The frame behind the protocol version, or what is read when the server hangs up."""
    with sock:
        return sock.recv(45, socket.MSG_WAITALL)[8:]


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (-(2**31), 1000), (-5, 1000), (0, 1000), (999, 1000), (1000, 1000), (1001, 1001),
        (9999, 9999), (10_000, 10_000), (10_001, 10_000), (2**31 - 1, 10_000),
    ],
)  # fmt: skip
def test_the_timeout_is_held_between_2_and_20_ticks(server, wire, asked, given):
    client = wire(server.port, timeout_ms=asked)
    assert client.timeout_ms == given
    client.close_session()


def test_who_comes_back_may_ask_for_another_timeout(server, wire):
    client = wire(server.port, timeout_ms=2000)
    again = wire(server.port, session=client.session, timeout_ms=7000)
    assert (again.session_id, again.timeout_ms, again.password) == (client.session_id, 7000, client.password)
    again.close_session()


def test_a_session_moves_to_its_newest_connection_without_its_watches(server, wire, root):
    first, other = wire(server.port), wire(server.port)
    assert first.create(root, flags=1) == 0
    assert first.call(4, first.text(root) + b"\x01")[0] == 0
    second = wire(server.port, session=first.session)
    assert first.sock.recv(1) == CLOSED
    assert other.call(5, other.text(root) + other.text("new") + struct.pack(">i", -1))[0] == 0
    error, answer = second.call(4, second.text(root) + b"\x00")
    assert error == 0
    assert struct.unpack_from(">q", answer, 4 + 3 + 44)[0] == second.session_id
    assert second.events == []
    second.close_session()
    assert other.call(3, other.text(root) + b"\x00")[0] == -101


def test_what_a_moved_session_had_asked_for_is_still_carried_out(server, wire, root):
    first = wire(server.port)
    for number in range(20):
        first.post(1, first.text(f"{root}{number}") + first.text("") + OPEN_ACL + struct.pack(">i", 1))
    first.reply()  # so that the server has taken in at least one
    second = wire(server.port, session=first.session)
    assert second.call(3, second.text(f"{root}0") + b"\x00")[0] == 0
    second.close_session()
    other = wire(server.port)
    assert all(other.call(3, other.text(f"{root}{number}") + b"\x00")[0] == -101 for number in range(20))


@pytest.mark.parametrize("password", [b"", None, b"x" * 15, b"x" * 16, b"x" * 17, bytes(16)])
def test_a_wrong_password_is_told_that_the_session_is_over(server, wire, password):
    client = wire(server.port)
    assert answer(handshake(server.port, client.session_id, password)) == EXPIRED


@pytest.mark.parametrize("password", [b"", None, b"x" * 15, b"x" * 100])
def test_the_password_of_a_new_session_does_not_matter(server, password):
    got = answer(handshake(server.port, 0, password))
    assert struct.unpack_from(">iq", got)[1] != 0


def test_a_session_that_never_was_or_is_closed_is_over(server, wire):
    client = wire(server.port)
    client.close_session()
    again = wire(server.port, session=client.session)
    assert (again.session_id, again.timeout_ms, again.password) == (0, 0, bytes(16))
    assert again.sock.recv(1) == CLOSED
    assert wire(server.port, session=(client.session_id + 1_000_000, client.password)).session_id == 0


@pytest.mark.parametrize("kind", ["ours", pytest.param("apache", marks=pytest.mark.apache)])
def test_who_has_seen_more_than_the_server_is_hung_up_on(kind, start_server, wire):
    server = start_server(kind)  # one that nobody else writes to meanwhile
    client = wire(server.port, timeout_ms=10_000)
    client.post(9, client.text("/"))
    seen = client.reply()[1]
    assert answer(handshake(server.port, 0, zxid=seen + 1)) == CLOSED
    assert answer(handshake(server.port, client.session_id, client.password, zxid=seen + 1)) == CLOSED
    assert answer(handshake(server.port, client.session_id, client.password, zxid=seen)) != CLOSED
    server.stop()


def test_a_session_that_is_not_heard_from_ends_with_its_ephemerals(server, wire, root):
    silent, other = wire(server.port, timeout_ms=1000), wire(server.port)
    assert silent.create(root, flags=1) == 0
    assert other.call(3, other.text(root) + b"\x01")[0] == 0
    payload = other.receive()  # the event; within the socket's own time limit
    assert struct.unpack_from(">i", payload) == (-1,)
    assert struct.unpack_from(">i", payload, 16)[0] == 2
    assert silent.sock.recv(1) == CLOSED
    assert wire(server.port, session=silent.session).session_id == 0
