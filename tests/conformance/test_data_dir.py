"""One data directory, two servers: what ours wrote Apache opens, what Apache wrote ours opens, Stats and all."""

from __future__ import annotations

import struct

import pytest

pytestmark = pytest.mark.apache


def populate(client) -> None:
    for path, data in (("/a", b"one"), ("/a/b", b""), ("/a/c", b"x" * 3000), ("/d", b"gone")):
        assert client.create(path, data) == 0
    for turn in range(12):
        assert client.call(5, client.text("/a/b") + client.text(f"{turn}") + struct.pack(">i", turn))[0] == 0
    for _ in range(3):
        assert client.create("/a/s-", b"s", flags=2) == 0
    assert client.create("/a/mortal", b"", flags=1) == 0
    assert client.call(2, client.text("/d") + struct.pack(">i", -1))[0] == 0
    only_read = bytes.fromhex("000000010000000100000005776f726c6400000006616e796f6e65")
    assert client.call(7, client.text("/a/c") + only_read + struct.pack(">i", 0))[0] == 0
    container = (
        client.text("/box")
        + client.text("")
        + bytes.fromhex("000000010000001f00000005776f726c6400000006616e796f6e6500000004")
    )
    assert client.call(19, container)[0] == 0


def leave_a_hole(client) -> None:
    """Of such a request Apache uses up the zxid and logs nothing."""
    null_path = struct.pack(">i?i", 2, False, -1) + client.text(None) + struct.pack(">i", -1)
    assert client.call(14, null_path + bytes.fromhex("ffffffff01ffffffff"))[0] == -5
    assert client.create("/behind", b"") == 0


def contents(client, path: str = "/") -> dict[str, tuple[bytes, bytes]]:
    """Every znode below `path`: (data and Stat, ACL and Stat) as they come off the wire."""
    found = {path: (client.call(4, client.text(path) + b"\x00")[1], client.call(6, client.text(path))[1])}
    error, answer = client.call(8, client.text(path) + b"\x00")
    assert error == 0
    at = 4
    for _ in range(struct.unpack_from(">i", answer)[0]):
        size = struct.unpack_from(">i", answer, at)[0]
        name = answer[at + 4 : at + 4 + size].decode()
        at += 4 + size
        found |= contents(client, path.rstrip("/") + "/" + name)
    return found


@pytest.mark.parametrize(
    ("writer", "reader", "snap_count"),
    [
        pytest.param("ours", "apache", 100_000, id="ours-apache-log only"),
        pytest.param("apache", "ours", 10, id="apache-ours-snapshots"),
        # A quick run has each way and each kind of file once: each of Apache's is a JVM of its own.
        pytest.param("ours", "apache", 10, id="ours-apache-snapshots", marks=pytest.mark.thorough),
        pytest.param("apache", "ours", 100_000, id="apache-ours-log only", marks=pytest.mark.thorough),
        pytest.param("ours", "ours", 10, id="ours-ours-snapshots"),
        pytest.param("ours", "ours", 100_000, id="ours-ours-log only"),
    ],
)
def test_the_other_server_opens_the_directory(writer, reader, snap_count, start_server, wire, tmp_path):
    first = start_server(writer, tmp_path, snapCount=snap_count)
    client = wire(first.port)
    populate(client)
    if snap_count > 10:  # else Apache may begin a new file just there, and it looks as if one were missing
        leave_a_hole(client)
    client.close_session()
    client = wire(first.port)
    before = contents(client)
    client.close_session()
    first.stop()
    second = start_server(reader, tmp_path, snapCount=snap_count)
    client = wire(second.port)
    after = contents(client)
    assert sorted(after) == sorted(before)
    for path in before:
        assert after[path] == before[path], path
    assert "/a/mortal" not in after
    assert client.create("/later", b"") == 0
    second.stop()
