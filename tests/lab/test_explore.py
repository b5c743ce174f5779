"""`recipes lab explore`: each fault at each place, none left out, and what breaks is a scenario that breaks again."""

import json
from functools import partial
from itertools import pairwise

import pytest

from recipes.core.errors import BadArguments
from recipes.lab.explore import Faults, base_of, explore
from recipes.lab.figures import HEARTBEATS
from recipes.lab.plants.registry import PLANTS
from recipes.lab.run import run

GETS = ("deliver", "call", "timer")


def test_a_crash_comes_after_each_turn_of_a_site_and_nowhere_twice():
    base, *crashed = explore(base_of("paxos", 1, {"proposer": 1}), Faults(crashes=1))
    events = base.outcome.trace.events
    over = next(event["i"] for event in events if event["k"] == "note")
    places = set()
    for each in crashed:
        found = each.outcome.trace.events
        place = next(event["i"] for event in found if event["k"] == "crash")
        assert found[:place] == events[:place]
        places.add((place, found[place]["n"]))
    assert len(places) == len(crashed)
    # Whatever a site gets, it crashes before it gets anything else.
    for site in base.outcome.trace.sites:
        inputs = [event["i"] for event in events[:over] if event["n"] == site and event["k"] in GETS]
        for got, following in pairwise([*inputs, over]):
            assert any(got < place <= following for place, each in places if each == site), (site, got)


def test_of_two_faults_the_second_comes_later_and_every_pair_is_there():
    base = base_of("paxos1", 1, {"proposer": 1})
    runs = [each.scenario for each in explore(base, Faults(drops=2))]
    pairs = [[step["when"]["at_event"] for step in each.steps if step["then"] == "drop"] for each in runs]
    assert len({tuple(pair) for pair in pairs}) == len(pairs)
    assert all(pair == sorted(set(pair)) for pair in pairs)
    for first in (pair[0] for pair in pairs if len(pair) == 1):
        trace = run(next(each for each, pair in zip(runs, pairs, strict=True) if pair == [first])).trace
        later = [
            event["i"] for event in trace.events
            if event["k"] == "send" and event["i"] > first and event["role"] not in HEARTBEATS
        ]  # fmt: skip
        assert [pair[1] for pair in pairs if len(pair) == 2 and pair[0] == first] == later


FAULTS = [
    ("paxos", Faults(crashes=1, drops=1)), ("paxos_log", Faults(crashes=1)), ("multi-paxos", Faults(crashes=1)),
    ("primary-backup", Faults(crashes=2)), ("paxos1", Faults(crashes=2)), ("paxos2", Faults(power_cuts=1, drops=1)),
    ("copies", Faults(drops=1)), ("2pc", Faults(crashes=1)), ("3pc", Faults(power_cuts=1)),
    ("raft", Faults(power_cuts=1)), ("zab", Faults(power_cuts=1)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "faults"),
    [row if row[0] == "primary-backup" else pytest.param(*row, marks=pytest.mark.thorough) for row in FAULTS],
)
def test_no_place_of_a_fault_breaks_a_protocol(protocol, faults):
    for scenario, outcome in explore(base_of(protocol, 2, {}), faults):
        assert outcome.code == 0, (scenario.steps, outcome.broken, outcome.wrong)


@pytest.mark.parametrize(
    ("plant", "faults"),
    [
        ("paxos-own-value", Faults(crashes=1)),
        ("backup-replies-at-first-copy", Faults(drops=1)),
        pytest.param("raft-acks-before-sync", Faults(power_cuts=1), marks=pytest.mark.thorough),
    ],
)
def test_a_planted_bug_is_found_and_is_no_chance(plant, faults):
    base = base_of(PLANTS[plant].protocol, 2, {}, plant)
    found = next(each for each in explore(base, faults, partial(run, plant=plant)) if each.outcome.broken)
    assert set(found.outcome.broken) & set(PLANTS[plant].finds)
    assert run(found.scenario, plant=plant).trace == found.outcome.trace


def test_the_command_says_what_it_has_found_and_writes_what_repeats_it(lab, tmp_path):
    file = tmp_path / "found.toml"
    code, out, _ = lab("explore", "paxos", "--entries", "1", "--crashes", "1")
    assert (code, out.endswith(" events, nothing broke\n")) == (0, True)
    code, out, _ = lab("explore", "paxos", "--crashes", "1", "--plant", "paxos-own-value", "--save", str(file))
    assert (code, "BROKEN" in out, f"recipes lab run {file}" in out) == (1, True, True)
    code, out, _ = lab("run", str(file))
    assert (code, "as expected: " in out) == (0, True)
    code, out, _ = lab("explore", "paxos", "--crashes", "1", "--most", "5", "--json")
    assert (code, json.loads(out)["runs"], json.loads(out)["complete"]) == (3, 5, False)


@pytest.mark.parametrize(
    "wrong",
    [["fax"], ["paxos", "--crashes=-1"], ["paxos", "--entries=0"], ["paxos", "--most=0"], ["raft", "--servers=99"]],
)
def test_wrong_arguments_are_refused(lab, wrong):
    code, _, err = lab("explore", *wrong)
    assert (code, err.count("\n")) == (2, 1)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(BadArguments, match="no protocol to explore is called 'fax'"):
        base_of("fax", 1, {})
