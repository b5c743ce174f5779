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


@pytest.mark.parametrize("flags", [0, 1, 2, 3, 5, 6])
def test_create_container_with_other_flags_is_refused(our_server, wire, root, flags):
    client = wire(our_server.port)
    body = client.text(root) + client.text("") + OPEN + struct.pack(">i", flags)
    assert client.call(19, body)[0] == -8


def test_watches_of_several_modes_on_one_path_all_count(our_server, wire, root):
    client = wire(our_server.port)
    assert client.create(root) == 0
    assert client.call(106, client.text(root) + struct.pack(">i", 0))[0] == 0
    assert client.call(4, client.text(root) + b"\x01")[0] == 0
    for turn in range(2):
        assert client.call(5, client.text(root) + client.text("x") + struct.pack(">i", turn))[0] == 0
    assert client.events == [(3, root.encode())] * 2


def test_check_watches_asks_about_the_client_itself(our_server, wire, root):
    client, other = wire(our_server.port), wire(our_server.port)
    assert client.create(root) == 0
    assert client.call(4, client.text(root) + b"\x01")[0] == 0
    assert client.call(17, client.text(root) + struct.pack(">i", 2))[0] == 0
    assert other.call(17, client.text(root) + struct.pack(">i", 2))[0] == -121


def test_removing_a_data_watch_leaves_the_persistent_one(our_server, wire, root):
    client = wire(our_server.port)
    assert client.call(106, client.text(root) + struct.pack(">i", 0))[0] == 0
    for kind in (1, 2, 5):
        assert client.call(18, client.text(root) + struct.pack(">i", kind))[0] == -121
    assert client.call(18, client.text(root) + struct.pack(">i", 4))[0] == 0


@pytest.fixture(scope="module")
def strict_server(start_server):
    return start_server("ours", enforceQuota="true")


def test_a_hard_quota_counts_what_is_under_way(strict_server, wire, root):
    client = wire(strict_server.port)
    assert client.create(root) == 0
    quota = f"/zookeeper/quota{root}"
    assert client.create(quota) == 0
    assert client.create(f"{quota}/zookeeper_limits", b"countHardLimit=3,byteHardLimit=4") == 0
    assert client.create(f"{quota}/zookeeper_stats") == 0
    creates = [client.text(f"{root}/{n}") + client.text("") + OPEN + struct.pack(">i", 0) for n in range(4)]
    multi = b"".join(struct.pack(">i?i", 1, False, -1) + body for body in creates) + bytes.fromhex("ffffffff01ffffffff")
    error, answer = client.call(14, multi)
    assert error == 0
    assert [struct.unpack_from(">i", answer, 13 * part + 5)[0] for part in range(4)] == [0, 0, -125, -2]
    # All in one segment, so that they are taken in together.
    client.sock.sendall(b"".join(struct.pack(">iii", 8 + len(body), 50, 1) + body for body in creates))
    assert [client.reply()[2] for _ in creates] == [0, 0, -125, -125]
    assert client.call(2, client.text(f"{root}/0") + struct.pack(">i", -1))[0] == 0
    assert client.create(f"{root}/again") == 0


def test_limits_on_the_whole_tree_have_no_effect(strict_server, wire, root):
    client = wire(strict_server.port)
    assert client.create("/zookeeper/quota/zookeeper_limits", b"countHardLimit=1,byteHardLimit=1") == 0
    assert client.create("/zookeeper/quota/zookeeper_stats") == 0
    assert client.create(root, b"12345") == 0


@pytest.mark.parametrize("scheme", ["world", "digest", "ip"])
def test_an_acl_entry_without_an_id_is_invalid(our_server, wire, root, scheme):
    client = wire(our_server.port)
    acl = struct.pack(">ii", 1, 31) + client.text(scheme) + client.text(None)
    assert client.call(1, client.text(root) + client.text("") + acl + struct.pack(">i", 0))[0] == -114


def test_a_certificates_name_may_stand_in_any_acl(our_server, wire, root):
    client = wire(our_server.port)
    acl = struct.pack(">ii", 1, 31) + client.text("x509") + client.text("CN=a,O=b")
    assert client.call(1, client.text(root) + client.text("") + acl + struct.pack(">i", 0))[0] == 0


def test_a_multi_with_a_null_path_takes_a_zxid(our_server, wire):
    client = wire(our_server.port)
    client.post(9, client.text("/"))
    before = client.reply()[1]
    body = struct.pack(">i?i", 2, False, -1) + client.text(None) + struct.pack(">i", -1)
    client.post(14, body + bytes.fromhex("ffffffff01ffffffff"))
    _, zxid, error, answer = client.reply()
    assert (error, answer) == (-5, b"")
    assert zxid > before


@pytest.mark.parametrize("name", ["\U0001f600".encode(), b"\xff"])
def test_a_path_no_znode_can_have_comes_back_as_it_came(our_server, wire, name):
    client = wire(our_server.port)
    assert client.call(9, client.text(b"/" + name)) == (0, client.text(b"/" + name))
    assert client.call(1, client.text(b"/" + name) + client.text("") + OPEN + struct.pack(">i", 0))[0] == -8
