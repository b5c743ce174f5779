"""What a hunt finds is made short, and can be run from a file."""

from dataclasses import replace

import pytest

from recipes.lab.hunt import hunt, scenario_of
from recipes.lab.run import run
from recipes.lab.scenario import parse
from recipes.lab.shrink import shrink, toml

FOUND = [("paxos-epoch-reused", "paxos", 9), ("raft-counts-earlier-term", "raft", 15), ("zab-tail-not-cut", "zab", 28)]


@pytest.mark.thorough  # some hundred runs
@pytest.mark.parametrize(("plant", "protocol", "seed"), FOUND)
def test_a_scenario_is_shrunk_until_every_step_is_needed_and_its_file_gives_the_same(plant, protocol, seed):
    scenario = scenario_of(protocol, seed, plant)
    whole = run(scenario, plant=plant)
    small = shrink(scenario, plant)
    assert 0 < len(small.steps) < len(scenario.steps) / 2
    found = run(small)
    assert found.code == 0 and found.broken.keys() & whole.broken.keys()
    for number in range(len(small.steps)):
        without = run(replace(small, steps=small.steps[:number] + small.steps[number + 1 :], breaks=()))
        assert not without.broken.keys() & whole.broken.keys(), f"step {number + 1} is not needed"
    from_file = run(parse(small.id, toml(small)))
    assert from_file.code == 0
    assert from_file.trace.events == found.trace.events


def test_a_whole_scenario_of_a_hunt_is_the_same_from_its_file():
    for protocol in ("paxos", "2pc", "multi-paxos"):
        ((_, found),) = hunt(protocol, range(3, 4))
        again = run(parse(found.trace.header["scenario"], toml(scenario_of(protocol, 3))))
        assert again.trace.events == found.trace.events
