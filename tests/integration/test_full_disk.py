"""A disk without room: reads go on, new writes are refused, and what was accepted is carried out when room comes back.

The limit on the size of a file stands in for the disk: the kernel then refuses writes with EFBIG.
"""

from __future__ import annotations

import resource
import struct
import time
import urllib.error
import urllib.request

import pytest

from tests.ports import free_port

OPEN_ACL = bytes.fromhex("000000010000001f00000005776f726c6400000006616e796f6e65")
DEADLINE_SECONDS = 30.0
LIMIT_BYTES = 64 << 10


def limit_files(pid: int, size: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def ends(client) -> bool:
    try:
        client.receive()
    except (EOFError, ConnectionResetError):
        return True
    return False


@pytest.mark.parametrize("new_file", [False, True], ids=["log in use", "new log"])
def test_reads_go_on_and_an_accepted_write_is_not_lost(new_file, start_server, wire):
    admin_port = free_port()
    options = {"admin.enableServer": "true", "admin.serverAddress": "127.0.0.1", "admin.serverPort": admin_port}
    server = start_server("ours", snapCount=2 if new_file else 100_000, **options)
    reader, writer = wire(server.port), wire(server.port)
    assert reader.create("/here", b"x") == 0
    limit_files(server.pid, 16 if new_file else LIMIT_BYTES)
    writer.post(1, writer.text("/big") + writer.text(bytes(500_000)) + OPEN_ACL + struct.pack(">i", 0))
    await_ready(admin_port, False)
    assert reader.call(4, reader.text("/here") + b"\x00")[0] == 0
    assert session_or_none(wire, server.port) is None
    assert reader.call(3, reader.text("/big") + b"\x00")[0] == -101
    other = reader
    other.post(5, other.text("/here") + other.text("y") + struct.pack(">i", -1))
    assert ends(other)
    limit_files(server.pid, resource.RLIM_INFINITY)
    xid, _, error, _ = writer.reply()  # within the socket's time limit
    assert (xid, error) == (1, 0)
    await_ready(admin_port, True)
    again = wire(server.port)
    assert again.create("/later") == 0
    server.restart()
    client = wire(server.port)
    for path in ("/here", "/big", "/later"):
        assert client.call(3, client.text(path) + b"\x00")[0] == 0
    server.stop()


def session_or_none(wire, port: int):
    try:
        return wire(port)
    except (EOFError, ConnectionResetError):
        return None


def await_ready(port: int, ready: bool) -> None:
    """Return once /readyz says so."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
        if (status == 200) == ready:
            return
    pytest.fail(f"the server is not {'ready' if ready else 'without room'}")
