"""This build goes on with the directories that an earlier build has left, and beside members that still run one.

`raft-b771b43.tar.gz` has the directories of three members after 40 creates, snapshots, and the death of a leader. They
were written by the commit in its name, the first that served raft.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from tests.servers import ROOT

DIRECTORIES = Path(__file__).with_name("raft-b771b43.tar.gz")
EARLIER = "RECIPES_EARLIER"
SERVERS = ("ours", "ours", "ours")


@pytest.mark.thorough  # three processes
def test_raft_goes_on_from_the_directories_of_an_earlier_build(start_ensemble, wire):
    with start_ensemble(*SERVERS, protocol="raft", start=False) as ensemble:
        with tarfile.open(DIRECTORIES) as archive:
            archive.extractall(ensemble.servers[1].directory.parent, filter="data")
        ensemble.start()
        assert ensemble.zxid(ensemble.leader()) >> 32 > 3  # a later term than any that is stored
        found = ensemble.assert_same()
        assert {f"/n{number:02}" for number in range(40)} < set(found)
        for number in range(40):
            data, _ = found[f"/n{number:02}"]
            assert data[1].startswith(b"\0\0\0" + bytes([len(b"old %d" % number)]) + b"old %d" % number)
        assert wire(ensemble.port(ensemble.followers()[0])).create("/new", b"x") == 0
        for sid in ensemble.servers:
            ensemble.kill(sid)
        ensemble.start()
        assert {"/n39", "/new"} < set(ensemble.assert_same())


@pytest.mark.soak
@pytest.mark.skipif(EARLIER not in os.environ, reason=f"{EARLIER} names no directory with an earlier build's recipes")
@pytest.mark.parametrize("protocol", ["zab", "raft"])
def test_members_of_an_earlier_build_are_replaced_one_by_one_and_back(start_ensemble, wire, protocol):
    earlier = Path(os.environ[EARLIER])
    with start_ensemble(*SERVERS, protocol=protocol, start=False, snapCount=30) as ensemble:
        for server in ensemble.servers.values():
            server.source = earlier
        ensemble.start()
        written = 0
        for source in (ROOT, earlier):
            for sid, server in ensemble.servers.items():
                ensemble.stop(sid)
                server.source = source
                ensemble.start(sid)
                ensemble.wait_synced()
                for other in ensemble.servers:
                    client = wire(ensemble.port(other))
                    for _ in range(10):
                        assert client.create(f"/{written}", b"x") == 0
                        written += 1
                    client.close_session()
                assert {f"/{number}" for number in range(written)} <= set(ensemble.assert_same())
