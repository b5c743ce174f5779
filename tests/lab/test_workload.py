"""`run --faults --clients`: faults by name, one after another, while clients go on writing."""

import json
from itertools import pairwise

import pytest

from recipes.core.errors import BadArguments
from recipes.lab.casts import PROTOCOLS
from recipes.lab.run import run
from recipes.lab.scenario import load
from recipes.lab.trace import digest
from recipes.lab.workload import WORKLOADS, with_load

SCENARIO = {
    "copies": "con-same-order", "primary-backup": "pb-write", "multi-paxos": "mp-skips-prepare", "raft": "cmp-write",
    "zab": "cmp-write", "paxos1": "p1-free", "paxos2": "p2-adopts", "paxos": "px-null", "paxos_log": "px-sequence",
    "2pc": "txn-commit", "3pc": "3pc-commit",
}  # fmt: skip
EVENT = {
    "crash": "crash", "power": "power", "pause": "pause", "isolate": "fault", "slow-disk": "fault",
    "full-disk": "fault",
}  # fmt: skip


def ran(protocol, *faults, clients=2, **options):
    scenario = load(SCENARIO[protocol])
    return run(with_load(scenario, protocol, faults, clients), protocol=protocol, **options)


def test_every_protocol_has_a_workload():
    assert WORKLOADS.keys() == PROTOCOLS.keys() == SCENARIO.keys()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_clients_alone_are_all_answered_and_nothing_breaks(protocol):
    found = ran(protocol, clients=2)
    assert (found.broken, found.wrong, found.waits_for) == ({}, (), "")
    calls = {event["call"]: event for event in found.trace.events if event["k"] == "call"}
    made = [event for event in calls.values() if event["client"].startswith("load")]
    assert len(made) == 20
    assert {event["client"] for event in made} == {"load1", "load2"}
    replies = [event for event in found.trace.events if event["k"] == "reply"]
    assert {event["call"] for event in replies} == calls.keys()
    outcomes = [event["outcome"] for event in replies if calls[event["call"]] in made]
    assert "ok" in outcomes


@pytest.mark.thorough  # a run for each of them
@pytest.mark.parametrize("what", EVENT)
@pytest.mark.parametrize("protocol", ["raft", "zab", "multi-paxos", "primary-backup"])
def test_each_fault_of_a_leader_happens_ends_and_breaks_nothing(protocol, what):
    found = ran(protocol, f"{what}-leader")
    assert (found.broken, found.wrong, found.waits_for) == ({}, (), "")
    begins = [event for event in found.trace.events if event["k"] == EVENT[what]]
    assert begins
    last = found.trace.events[-1]["t"]
    assert last - begins[0]["t"] > 1_400_000  # it lasts a second, and half a second follows
    answered = [event for event in found.trace.events if event["k"] == "reply" and event["outcome"] == "ok"]
    assert answered[-1]["t"] > begins[0]["t"] + 1_000_000


@pytest.mark.parametrize("protocol", ["raft", "zab"])
def test_faults_come_one_after_another(protocol):
    found = ran(protocol, "partition", "pause-follower", "loss", "power-all")
    assert (found.broken, found.waits_for) == ({}, "")
    times = [
        next(event["t"] for event in found.trace.events if wanted.items() <= event.items())
        for wanted in (
            {"k": "fault", "what": "cut"}, {"k": "heal", "what": "cut"}, {"k": "pause"}, {"k": "resume"},
            {"k": "fault", "what": "loss"}, {"k": "heal", "what": "loss"}, {"k": "power"},
        )
    ]  # fmt: skip
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(abs(gap - wanted) < 2000 for gap, wanted in zip(gaps, [1_000_000, 500_000] * 3, strict=True))
    assert sum(event["k"] == "power" for event in found.trace.events) == 3
    assert digest(ran(protocol, "partition", "pause-follower", "loss", "power-all").trace) == digest(found.trace)


def test_what_is_not_known_is_refused():
    for protocol, fault in (
        ("paxos", "crash-leader"), ("raft", "crash"), ("raft", "crash-s9"), ("raft", "melt-s1"), ("raft", ""),
        ("raft", "crash-"),
    ):  # fmt: skip
        with pytest.raises(BadArguments, match="expected partition, loss, or one of crash, power"):
            ran(protocol, fault)
    for clients in (0, -1, 21):
        with pytest.raises(BadArguments, match="expected a number from 1 to 20"):
            ran("raft", clients=clients)


@pytest.mark.thorough  # three commands
def test_the_command(lab):
    code, out, _ = lab(
        "run", "cmp-write", "--protocol", "raft", "--servers", "5", "--faults", "crash-leader, partition", "--clients",
        "3", "--json",
    )  # fmt: skip
    facts = json.loads(out)
    assert (code, facts["protocol"], len(facts["sites"])) == (0, "raft", 5)
    assert facts["figures"]["ok"] > 60
    assert json.loads(lab("run", "px-null", "--faults", "pause-a1", "--json")[1])["figures"]["ok"] > 10
    code, _, err = lab("run", "px-null", "--faults", "crash-leader")
    assert (code, err.count("\n")) == (2, 1)
