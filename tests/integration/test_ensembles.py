"""EnsembleProcesses, which tests of whole ensembles rest on: it does to the servers what it says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from recipes.core.disk.replace import REJOIN
from tests.ensembles import EnsembleProcesses
from tests.servers import ROOT

# Apache's are asked so that our words are seen to be theirs; they do not change from run to run.
KINDS = pytest.mark.parametrize(
    "kind", ["ours", pytest.param("apache", marks=[pytest.mark.apache, pytest.mark.thorough])]
)
STATES = {"leader": "leading", "follower": "following", "observer": "observing"}
OF_SOME_ROLES = (
    "zk_learners", "zk_synced_followers", "zk_synced_non_voting_followers", "zk_synced_observers", "zk_pending_syncs",
    "zk_observer_master_id",
)  # fmt: skip


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
        ensemble.wait_for(lambda: ensemble.mode(second) == "follower", f"{second}, which led, follows")
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


def printed_modes(ensemble: EnsembleProcesses) -> dict[str, str | None]:
    """What `recipes status` says of all servers, by address."""
    done = subprocess.run(
        [sys.executable, "-m", "recipes", "status", "--json", ensemble.hosts],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == any(each["mode"] is None for each in said), done.stderr
    return {each["server"]: each["mode"] for each in said}


def assert_roles(ensemble: EnsembleProcesses, leader: int) -> None:
    """Each server that runs tells its role, in `srvr`, in `mntr` and through `recipes status`."""
    roles = {sid: "follower" if sid in ensemble.voters else "observer" for sid in ensemble.running} | {leader: "leader"}
    followers = list(roles.values()).count("follower")
    assert printed_modes(ensemble) == {ensemble.hosts_of(sid): roles.get(sid) for sid in ensemble.servers}
    for sid, role in roles.items():
        figures = ensemble.mntr(sid)
        assert (ensemble.mode(sid), figures["zk_server_state"]) == (role, role)
        assert figures["zk_peer_state"] == f"{STATES[role]} - broadcast"
        assert figures["zk_quorum_size"] == str(len(ensemble.voters))
        assert {key: figures[key] for key in OF_SOME_ROLES if key in figures} == {
            "leader": {
                "zk_learners": str(followers + 1),
                "zk_synced_followers": str(followers),
                "zk_synced_non_voting_followers": "0",
                "zk_synced_observers": "1",
                "zk_pending_syncs": "0",
            },
            "follower": {},
            "observer": {"zk_observer_master_id": str(leader)},
        }[role]
        uptime_ms = int(figures.get("zk_leader_uptime", -1))
        assert 0 <= uptime_ms <= int(figures["zk_uptime"]) if role == "leader" else uptime_ms == -1


@KINDS
def test_every_server_tells_its_role_before_and_after_its_leader_is_lost(start_ensemble, kind):
    with start_ensemble(kind, kind, kind, observers=kind) as ensemble:
        first = ensemble.leader()
        assert_roles(ensemble, first)
        ensemble.kill(first)
        second = ensemble.wait_leader()
        ensemble.wait_serving()
        assert_roles(ensemble, second)
        ensemble.start(first)
        assert_roles(ensemble, second)


@pytest.mark.thorough  # three processes, 13 s; the simulation wipes disks
def test_a_voter_on_a_new_disk_has_no_vote_until_it_has_been_sent_everything(start_ensemble, wire):
    with start_ensemble("ours", "ours", "ours") as ensemble:
        leader = ensemble.leader()
        behind, wiped = ensemble.followers()
        ensemble.kill(behind)
        assert wire(ensemble.port(leader)).create("/a", b"x") == 0  # on the disks of the leader and `wiped`
        ensemble.wipe(wiped)
        marker = ensemble.servers[wiped].data_dir / "version-2" / REJOIN
        marker.parent.mkdir()
        marker.touch()
        ensemble.kill(leader)
        ensemble.launch(behind, wiped)
        for sid in (behind, wiped):
            log = ensemble.servers[sid].log
            ensemble.wait_for(lambda log=log: "still no leader" in log.read_text(), f"{sid} says that nobody leads")
        assert {ensemble.mode(sid) for sid in ensemble.running} == {""}
        assert marker.exists()

        ensemble.start(leader)
        ensemble.wait_synced()
        assert not marker.exists()
        assert "/a" in ensemble.assert_same()
