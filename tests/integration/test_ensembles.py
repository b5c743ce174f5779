"""EnsembleProcesses, which tests of whole ensembles rest on: it does to the servers what it says."""

from __future__ import annotations

import pytest


def test_members_are_started_killed_paused_and_wiped(start_ensemble, wire):
    with start_ensemble("ours", "ours", "ours", observers="ours") as ensemble:
        assert ensemble.voters == [1, 2, 3] and ensemble.mode(4) == "observer"
        client = wire(ensemble.port(4))
        assert client.create("/a", b"x") == 0
        first = ensemble.leader()
        assert sorted([first, *ensemble.followers()]) == [1, 2, 3]
        ensemble.kill(first)
        second = ensemble.wait_leader()
        assert second != first and ensemble.figures(first) == {}
        ensemble.start(first)
        ensemble.pause(second)
        third = ensemble.wait_leader()
        assert third != second and second not in ensemble.running
        ensemble.resume(second)
        ensemble.wait_serving(second)
        assert ensemble.mode(second) == "follower"
        ensemble.wipe(second)
        assert not (ensemble.servers[second].data_dir / "version-2").exists()
        ensemble.start(second)
        assert ensemble.wait_synced() == ensemble.zxid(third)
        client = wire(ensemble.port(second))
        assert client.call(4, client.text("/a") + b"\0")[0] == 0


def test_a_leader_that_serves_nobody_leaves_its_clients_to_the_others(start_ensemble, wire):
    with start_ensemble("ours", "ours", "ours", leaderServes="no") as ensemble:
        leader = ensemble.leader()
        client = wire(ensemble.port(ensemble.followers()[0]))
        assert client.create("/a", b"x") == 0
        with pytest.raises(EOFError):
            wire(ensemble.port(leader))
        ensemble.kill(leader)
        assert ensemble.wait_leader() != leader
        ensemble.start(leader)
        ensemble.wait_serving(leader)
        assert wire(ensemble.port(leader)).create("/b", b"x") == 0


@pytest.mark.apache
def test_a_member_changes_its_kind_on_its_directory(start_ensemble, wire):
    with start_ensemble("ours", "apache", "ours") as ensemble:
        client = wire(ensemble.port(2))
        assert client.create("/a", b"x") == 0
        client.close_session()
        ensemble.swap(2, "ours")
        ensemble.swap(1, "apache")
        assert ensemble.kinds == {1: "apache", 2: "ours", 3: "ours"}
        ensemble.wait_synced()
        for sid in ensemble.servers:
            client = wire(ensemble.port(sid))
            assert client.call(4, client.text("/a") + b"\0")[0] == 0
