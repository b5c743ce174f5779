"""Raft between real servers, each its own process: what clients see is what they see of zab."""

from __future__ import annotations

import re

import pytest

from tests.ensembles import EnsembleProcesses
from tests.servers import ServerProcess

pytestmark = [pytest.mark.thorough]  # the simulation and a test with servers in this process show the same, sooner
SERVERS = ("ours", "ours", "ours")


@pytest.fixture
def raft(start_ensemble) -> EnsembleProcesses:
    return start_ensemble(*SERVERS, protocol="raft")


def log_of(ensemble: EnsembleProcesses, sid: int) -> str:
    return ensemble.servers[sid].log.read_text()


def wait_for_log(ensemble: EnsembleProcesses, sid: int, text: str) -> None:
    ensemble.wait_for(lambda: text in log_of(ensemble, sid), f"the log of server {sid} says {text!r}")


def test_writes_survive_kill_9_of_the_leader(raft, wire):
    for number in range(2):
        leader = raft.wait_leader()
        for sid in raft.running:
            client = wire(raft.port(sid))
            assert client.create(f"/{number}-{sid}", b"x") == 0
            client.close_session()
        raft.kill(leader)
        second = raft.wait_leader()
        assert second != leader
        client = wire(raft.port(second))
        assert client.create(f"/{number}-after", b"x") == 0
        client.close_session()
        raft.start(leader)
        raft.wait_synced()
    names = {f"/{number}-{sid}" for number in range(2) for sid in (1, 2, 3, "after")}
    assert names <= set(raft.assert_same())


def test_what_was_written_is_there_after_all_were_killed_at_once(raft, wire):
    client = wire(raft.port(raft.followers()[0]))
    assert client.create("/a", b"x") == 0
    for sid in raft.servers:
        raft.kill(sid)
    raft.start()
    assert "/a" in raft.assert_same()


def test_a_server_on_an_empty_disk_gets_the_tree(start_ensemble, wire):
    with start_ensemble(*SERVERS, protocol="raft", snapCount=10) as raft:
        client = wire(raft.port(raft.leader()))
        for number in range(50):
            assert client.create(f"/{number}", b"x") == 0
        away = raft.followers()[0]
        raft.wipe(away)
        marker = raft.servers[away].data_dir / "version-2" / "rejoin"
        marker.parent.mkdir()
        marker.touch()
        raft.start(away)
        raft.wait_synced()
        wait_for_log(raft, away, "this server votes again")
        assert "/49" in raft.assert_same()


def test_an_observer_follows_and_has_no_vote(start_ensemble, wire):
    with start_ensemble(*SERVERS, observers="ours", protocol="raft") as raft:
        assert raft.mode(4) == "observer"
        client = wire(raft.port(4))
        assert client.create("/a", b"x") == 0
        for sid in raft.followers():
            raft.kill(sid)
        raft.wait_for(lambda: raft.mode(4) not in ("leader", "observer"), "two of four are no quorum")


def test_monitors_see_the_protocol(raft):
    leader = raft.leader()
    assert raft.mntr(leader)["zk_protocol"] == "raft"
    assert raft.mntr(leader)["zk_synced_followers"] == "2"
    assert "\nProtocol: raft\n" in raft._ask(leader, "srvr")


def test_mntr_names_zab_and_srvr_is_zookeepers(start_ensemble):
    with start_ensemble(*SERVERS) as zab:
        assert zab.mntr(1)["zk_protocol"] == "zab"
        assert "Protocol" not in zab._ask(1, "srvr")


# Mistakes.


def set_protocol(server: ServerProcess, protocol: str) -> None:
    text = re.sub("(?m)^protocol=.*\n", "", server.config.read_text())
    server.config.write_text(f"{text}protocol={protocol}\n")


def test_servers_of_two_protocols_name_each_other_and_the_majority_serves(start_ensemble):
    with start_ensemble(*SERVERS, start=False) as ensemble:
        set_protocol(ensemble.servers[1], "raft")
        ensemble.launch(1, 2, 3)
        ensemble.wait_serving(2, 3)
        wait_for_log(ensemble, 1, "server 2 runs another protocol, zab")
        wait_for_log(ensemble, 2, "server 1 runs another protocol than zab: set protocol= to the same value")
        assert ensemble.mode(1) not in ("leader", "follower")


@pytest.mark.apache
def test_apaches_server_is_named_and_goes_on(start_ensemble):
    with start_ensemble("ours", "apache", "ours", start=False) as ensemble:
        set_protocol(ensemble.servers[1], "raft")
        ensemble.launch(1, 2, 3)
        ensemble.wait_serving(2, 3)
        wait_for_log(ensemble, 1, "server 2 runs another protocol, zab, as Apache's servers do")
        assert ensemble.mode(1) not in ("leader", "follower")


@pytest.mark.parametrize(("first", "second"), [("raft", "zab"), ("zab", "raft")])
def test_a_directory_of_another_protocol_is_refused(start_ensemble, first, second):
    with start_ensemble(*SERVERS, protocol=first) as ensemble:
        ensemble.stop(1)
        set_protocol(ensemble.servers[1], second)
        ensemble.servers[1].launch()
        wait_for_log(ensemble, 1, f"belongs to a server that runs {first}, and this one is to run {second}")
        ensemble.wait_for(lambda: ensemble._process_ended(1), "server 1 has ended")


def test_a_server_with_another_list_of_servers_is_named(start_ensemble):
    with start_ensemble(*SERVERS, protocol="raft", start=False) as ensemble:
        config = ensemble.servers[1].config
        config.write_text(config.read_text() + "server.9=127.0.0.1:1:2:observer\n")
        ensemble.launch()
        ensemble.wait_serving(2, 3)
        wait_for_log(ensemble, 2, "server 1 has another list of servers")
        wait_for_log(ensemble, 1, "has another list of servers: give all servers the same server.N lines")


def test_a_frozen_leader_is_replaced_and_follows_afterwards(raft, wire):
    first = raft.leader()
    raft.pause(first)
    second = raft.wait_leader()
    assert second != first
    assert wire(raft.port(second)).create("/a", b"x") == 0
    raft.resume(first)
    raft.wait_for(lambda: raft.mode(first) == "follower", f"{first}, which led, follows")
    raft.wait_synced()
