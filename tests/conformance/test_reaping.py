"""What a server removes by itself: used and empty containers, childless znodes past their TTL, and nothing else."""

from __future__ import annotations

import struct

import pytest

OPEN_ACL = bytes.fromhex("000000010000001f00000005776f726c6400000006616e796f6e65")
DELETED = 2


@pytest.mark.parametrize("kind", ["ours", pytest.param("apache", marks=pytest.mark.apache)])
def test_only_used_containers_and_childless_mortals_go(kind, start_server, wire):
    server = start_server(kind, **{"znode.container.checkIntervalMs": 100})
    client = wire(server.port)

    def create(op: int, path: str, flags: int, ttl: bytes = b"") -> int:
        return client.call(op, client.text(path) + client.text("") + OPEN_ACL + struct.pack(">i", flags) + ttl)[0]

    for path in ("/used", "/used-too", "/never-used"):
        assert create(19, path, 4) == 0
    assert create(1, "/used/child", 0) == 0
    assert create(1, "/used-too/child", 0) == 0
    assert create(15, "/plain", 4) == 0  # the opcode makes a container, not the flags
    assert create(1, "/plain/child", 0) == 0
    assert client.call(2, client.text("/plain/child") + struct.pack(">i", -1))[0] == 0
    assert create(21, "/long", 5, struct.pack(">q", 1 << 39)) == 0
    assert create(21, "/parent", 5, struct.pack(">q", 500)) == 0
    assert create(1, "/parent/child", 0) == 0
    assert client.call(106, client.text("/") + struct.pack(">i", 1))[0] == 0
    assert client.call(2, client.text("/used/child") + struct.pack(">i", -1))[0] == 0
    assert create(21, "/mortal-", 6, struct.pack(">q", 1)) == 0
    awaited = {(DELETED, b"/used"), (DELETED, b"/mortal-0000000006")}
    while not awaited <= set(client.events):
        payload = client.receive()
        client.events.append((struct.unpack_from(">i", payload, 16)[0], payload[28:]))
    for path in ("/used-too", "/never-used", "/plain", "/long", "/parent"):
        assert client.call(3, client.text(path) + b"\x00")[0] == 0, path
    server.stop()
