"""What zoo.cfg does to a server, ours or Apache's: numbers are corrected, ACLs skipped, snapshots decompressed."""

from __future__ import annotations

import shutil
import struct

import pytest

from tests.core.test_zoo_keys import CORRECTED

BOTH = ["ours", pytest.param("apache", marks=[pytest.mark.apache, pytest.mark.thorough])]
DELETED = 2
# Beside the rest they would make this test another one.
OTHERS = ("readonlymode.enabled", "admin.", "znode.", "ssl.", "leaderServes", "extendedTypesEnabled")


def only_for(client, user: str) -> bytes:
    return struct.pack(">ii", 1, 31) + client.text("digest") + client.text(user)


@pytest.mark.parametrize("kind", BOTH)
def test_servers_7_interop_6_acls_are_skipped_and_unused_containers_go(kind, start_server, wire):
    odd = dict(line.split("=", 1) for line, _ in CORRECTED if not line.startswith(OTHERS))
    containers = {"znode.container.checkIntervalMs": 100, "znode.container.maxNeverUsedIntervalMs": 300}
    server = start_server(kind, **odd | containers | {"skipACL": "yes"})
    client = wire(server.port)
    private = only_for(client, "bob:x")
    assert client.call(1, client.text("/bob") + client.text("1") + private + struct.pack(">i", 0))[0] == 0
    any_version = struct.pack(">i", -1)
    assert client.call(4, client.text("/bob") + b"\0")[0] == 0
    assert client.call(5, client.text("/bob") + client.text("2") + any_version)[0] == 0
    assert client.call(12, client.text("/bob") + b"\0")[0] == 0
    assert client.create("/bob/child") == 0
    assert client.call(2, client.text("/bob/child") + any_version)[0] == 0
    assert client.call(7, client.text("/bob") + only_for(client, "ann:x") + any_version)[0] == 0
    error, acl = client.call(6, client.text("/bob"))
    assert (error, acl[: len(private)]) == (0, only_for(client, "ann:x"))
    nobody = struct.pack(">ii", 1, 31) + client.text("auth") + client.text("")
    assert client.call(7, client.text("/bob") + nobody + any_version)[0] == -114  # no identity came of it
    assert client.call(107)[1] == struct.pack(">i", 1) + client.text("ip") + client.text("127.0.0.1")

    assert client.call(106, client.text("/") + struct.pack(">i", 1))[0] == 0
    container = client.text("/box") + client.text("") + private + struct.pack(">i", 4)
    assert client.call(19, container)[0] == 0
    while (DELETED, b"/box") not in client.events:
        payload = client.receive()
        client.events.append((struct.unpack_from(">i", payload, 16)[0], payload[28:]))
    server.stop()


@pytest.mark.apache
@pytest.mark.thorough
@pytest.mark.parametrize("method", ["gz", "snappy"])
@pytest.mark.parametrize("with_log", [True, False])
def test_servers_2_interop_2_a_backup_of_apaches_is_served(method, with_log, start_server, wire, tmp_path):
    if method == "snappy":
        pytest.importorskip("cramjam", reason="reads what snappy compressed")
    data = bytes(range(256)) * 200  # more than one block of snappy's
    first = start_server("apache", tmp_path / "first", snapCount=5, **{"snapshot.compression.method": method})
    client = wire(first.port)
    for number in range(30):
        assert client.create(f"/{number}", data[number:]) == 0
    client.close_session()
    first.restart()  # it begins with a snapshot of everything
    first.stop()
    files = first.data_dir / "version-2"
    backup = tmp_path / "second" / "data" / "version-2"
    if with_log:
        shutil.copytree(files, backup)
    else:
        backup.mkdir(parents=True)
        newest = max(files.glob(f"snapshot.*.{method}"), key=lambda file: int(file.name.split(".")[1], 16))
        shutil.copy(newest, backup)
    second = start_server("ours", tmp_path / "second")
    client = wire(second.port)
    for number in range(30):
        error, answer = client.call(4, client.text(f"/{number}") + b"\0")
        assert (error, answer[4:-68]) == (0, data[number:])
    second.stop()
