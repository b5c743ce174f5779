"""Where our server differs from Apache on purpose (docs/differences.md): what ours does. Never sent to Apache."""

from __future__ import annotations

import struct

import pytest

OPEN = bytes.fromhex("000000010000001f00000005776f726c6400000006616e796f6e65")


def refused(client, op: int, body: bytes) -> bool:
    """An error reply or the end of the connection, but never success."""
    try:
        return client.call(op, body)[0] != 0
    except (EOFError, ConnectionResetError):
        return True


def test_a_top_level_check_is_refused(our_server, wire):
    client = wire(our_server.port)
    assert refused(client, 13, client.text("/") + struct.pack(">i", -1))


@pytest.mark.parametrize("flags", range(5))
def test_create_ttl_without_a_ttl_mode_is_refused(our_server, wire, root, flags):
    client = wire(our_server.port)
    assert refused(client, 21, client.text(root) + client.text("") + OPEN + struct.pack(">iq", flags, -1))
    assert wire(our_server.port).call(3, client.text(root) + b"\x00")[0] == -101


@pytest.mark.parametrize("op", [20, -10])
def test_internal_opcodes_are_refused(our_server, wire, op):
    client = wire(our_server.port)
    body = client.text("/zookeeper") if op == 20 else struct.pack(">i", 4000)
    assert refused(client, op, body)


def test_a_wrong_password_leaves_the_session_connected(our_server, wire):
    client = wire(our_server.port)
    assert wire(our_server.port, session=(client.session_id, b"x" * 16)).session_id == 0
    assert client.call(3, client.text("/") + b"\x00")[0] == 0


def test_a_watch_does_not_tell_what_may_not_be_read(our_server, wire, root):
    owner, stranger = wire(our_server.port), wire(our_server.port)
    owner.call(100, struct.pack(">i", 0) + owner.text("digest") + owner.text("a:b"))
    assert owner.create(root) == 0
    assert stranger.call(106, stranger.text(root) + struct.pack(">i", 0))[0] == 0
    private = struct.pack(">ii", 1, 31) + owner.text("auth") + owner.text("")
    assert owner.call(7, owner.text(root) + private + struct.pack(">i", -1))[0] == 0
    assert owner.call(5, owner.text(root) + owner.text("secret") + struct.pack(">i", -1))[0] == 0
    assert stranger.call(3, stranger.text("/") + b"\x00")[0] == 0
    assert stranger.events == []


def test_exists_needs_read(our_server, wire, root):
    owner, stranger = wire(our_server.port), wire(our_server.port)
    assert owner.call(100, struct.pack(">i", 0) + owner.text("digest") + owner.text("bob:pw"))[0] == 0
    acl = struct.pack(">ii", 1, 31) + owner.text("auth") + owner.text("")
    assert owner.call(1, owner.text(root) + owner.text(b"") + acl + struct.pack(">i", 0))[0] == 0
    assert owner.call(3, owner.text(root) + b"\0")[0] == 0
    assert stranger.call(3, stranger.text(root) + b"\0")[0] == -102
