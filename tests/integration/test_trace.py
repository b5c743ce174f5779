"""`recipes serve --trace` on real servers: what each writes, joined, shows what was done to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipes.cli import main
from recipes.lab.checks.registry import check
from recipes.lab.timeline import timeline
from recipes.lab.trace import Trace, loads
from tests.ensembles import EnsembleProcesses

pytestmark = [pytest.mark.thorough]  # tests/lab/test_stitch.py joins traces of servers that the simulator runs
PROTOCOLS = ("zab", "raft")


@pytest.fixture
def traced(start_ensemble, tmp_path):
    """traced(protocol): three servers that write traces."""

    def start(protocol: str, *arguments: str, observers: tuple[str, ...] = ()) -> EnsembleProcesses:
        ensemble = start_ensemble("ours", "ours", "ours", observers=observers, start=False, protocol=protocol)
        for sid, server in ensemble.servers.items():
            server.arguments = ["--trace", str(file_of(tmp_path, sid)), *arguments]
        return ensemble.start()

    return start


def file_of(directory: Path, sid: int) -> Path:
    return directory / f"s{sid}.trace"


def joined(directory: Path, *sids: int) -> Trace:
    out = directory / "all.jsonl"
    assert main(["lab", "stitch", *(str(file_of(directory, sid)) for sid in sids), "-o", str(out)]) == 0
    return loads(out.read_text())


def leaders(trace: Trace) -> list[str]:
    return [event["n"] for event in trace.events if event["k"] == "state" and event.get("role") == "leader"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_killed_leader_is_seen_to_go_and_another_one_to_come(protocol, traced, wire, tmp_path, capsys):
    ensemble = traced(protocol)
    first = ensemble.leader()
    client = wire(ensemble.port(ensemble.followers()[0]))
    assert client.create("/a", b"a password that nobody may read") == 0
    client.close_session()
    ensemble.wait_synced()
    ensemble.kill(first)
    second = ensemble.wait_leader()
    client = wire(ensemble.port(second))
    assert client.create("/b", b"x") == 0
    client.close_session()
    ensemble.start(first)
    ensemble.wait_synced()
    for sid in (1, 2, 3):
        ensemble.stop(sid)
    trace = joined(tmp_path, 1, 2, 3)
    said = capsys.readouterr().out
    assert "ahead of" in said or "behind" in said
    assert trace.unseen == []
    assert trace.end is not None
    assert {name: broken for name, broken in check(trace).items() if broken} == {}
    assert leaders(trace)[:2] == [f"s{first}", f"s{second}"]
    (killed,) = [event for event in trace.events if event["k"] == "crash" and "why" not in event]
    assert killed["n"] == f"s{first}"
    stopped = [event["n"] for event in trace.events if event["k"] == "crash" and event.get("why") == "stopped"]
    assert sorted(stopped) == ["s1", "s2", "s3"]
    assert [event["n"] for event in trace.events if event["k"] == "start"].count(f"s{first}") == 2
    sent = {event["role"] for event in trace.events if event["k"] == "send"}
    assert {"vote", "replicate", "ack", "forward", "commit-notice"} <= sent
    writes = [
        event["value"] for event in trace.events if event["k"] == "write" and str(event["what"]).startswith("log:")
    ]
    assert any(str(text).startswith("create /a, 31 bytes #") for text in writes)
    texts = [file_of(tmp_path, sid).read_text() for sid in (1, 2, 3)]
    assert not any("password" in text for text in texts)
    arrived = {event["id"] for event in trace.events if event["k"] == "deliver"}
    lost = {event["id"] for event in trace.events if event["k"] == "lost"}
    flying = [event for event in trace.events if event["k"] == "send" and event["i"] not in arrived | lost]
    assert len(flying) <= 20, flying  # what was on its way when all were told to stop
    assert "✕" in timeline(trace, protocol)


def test_a_trace_ends_at_its_limit_and_the_server_goes_on(traced, wire, tmp_path):
    ensemble = traced("zab", "--trace-mb", "1")
    leader = ensemble.leader()
    client = wire(ensemble.port(leader))
    assert client.create("/a", b"") == 0
    number = 0
    while json.loads(file_of(tmp_path, leader).read_text().splitlines()[-1])["k"] != "end":
        for _ in range(200):
            assert client.create(f"/a/{number}", b"x") == 0
            number += 1
    assert file_of(tmp_path, leader).stat().st_size <= 1_000_000
    assert client.create("/b", b"") == 0
    client.close_session()
    ensemble.wait_synced()
    assert "the trace ends here, and the server goes on" in ensemble.servers[leader].log.read_text()
    trace = joined(tmp_path, 1, 2, 3)
    assert trace.end is None
    assert {name: broken for name, broken in check(trace).items() if broken} == {}


def test_the_trace_of_an_ensemble_with_an_observer(traced, wire, tmp_path):
    ensemble = traced("zab", observers=("ours",))
    client = wire(ensemble.port(4))
    assert client.create("/a", b"x") == 0
    client.close_session()
    ensemble.wait_synced()
    for sid in (4, 1, 2, 3):
        ensemble.stop(sid)
    trace = joined(tmp_path, 1, 2, 3, 4)
    assert trace.sites["o4"] == "observer"
    assert any(event["k"] == "deliver" and event["n"] == "o4" for event in trace.events)
    assert {name: broken for name, broken in check(trace).items() if broken} == {}
