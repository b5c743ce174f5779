"""Real servers whose store takes as much memory as it may: writes are refused before the memory ends."""

from __future__ import annotations

import resource

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import QuotaExceededError

MB = 1 << 20
REFUSED = "writes that add to it are refused with QUOTAEXCEEDED"
TAKEN = "all writes are taken again"
QUOTA_EXCEEDED = -125


def fill(client, size, prefix="/"):
    """Create znodes of this size until one is refused; how many there are."""
    for number in range(2000):
        if (code := client.create(f"{prefix}{number}", bytes(size))) != 0:
            assert code == QUOTA_EXCEEDED
            return number
    raise AssertionError("nothing was refused")


def delete(client, path):
    return client.call(2, client.text(path) + b"\xff" * 4)[0]


def test_f16_only_the_leader_refuses_and_the_next_one_goes_on_with_that(start_ensemble, wire):
    with start_ensemble("ours", "ours", "ours", storeMemoryLimitInMb=2) as ensemble:
        first = ensemble.leader()
        follower = ensemble.followers()[0]
        client = wire(ensemble.port(follower))
        count = fill(client, 40_000)
        assert 20 < count < 60
        ensemble.wait_for(lambda: REFUSED in ensemble.servers[first].log.read_text(), "the leader's log says so")
        assert REFUSED not in ensemble.servers[follower].log.read_text()
        assert ensemble.mntr(first)["zk_store_is_full"] == "1"
        assert int(ensemble.mntr(first)["zk_store_memory_limit_bytes"]) == 2 * MB
        ensemble.kill(first)
        second = ensemble.wait_leader()
        client = wire(ensemble.port(second))
        more = fill(client, 40_000, prefix="/more-")  # it remembers less of the log than the first one did
        assert more < 10
        assert client.call(4, client.text("/0") + b"\0")[0] == 0
        ensemble.wait_for(lambda: REFUSED in ensemble.servers[second].log.read_text(), "the next leader's log says so")
        for number in range(count // 2):
            assert delete(client, f"/{number}") == 0
        ensemble.wait_for(lambda: client.create("/new", b"") == 0, "there is room again")
        assert TAKEN in ensemble.servers[second].log.read_text()
        ensemble.start(first)
        ensemble.wait_synced()
        ensemble.assert_same()


def test_f16_a_known_client_is_told(start_server):
    server = start_server("ours", storeMemoryLimitInMb=1)
    client = KazooClient(server.hosts)
    client.start()
    try:
        with pytest.raises(QuotaExceededError):
            for _ in range(100):
                client.create("/a-", bytes(50_000), sequence=True)
        assert client.get("/a-0000000000")[0] == bytes(50_000)
    finally:
        client.stop()
        client.close()


@pytest.mark.thorough  # it writes 300 MB
def test_f16_a_process_with_600_mb_refuses_before_it_ends(start_server, wire):
    server = start_server("ours", start=False)
    server.wrapper = ["prlimit", f"--as={600 * MB}"]
    server.start()
    assert resource.prlimit(server.pid, resource.RLIMIT_AS)[0] == 600 * MB
    client = wire(server.port)
    count = fill(client, 900_000)
    assert count > 250
    for number in range(count):
        assert client.call(4, client.text(f"/{number}") + b"\0")[0] == 0
    assert delete(client, "/0") == 0
    server.restart()
    client = wire(server.port)
    assert client.create("/new", bytes(900_000)) in (0, QUOTA_EXCEEDED)
    assert client.call(4, client.text(f"/{count - 1}") + b"\0")[0] == 0
