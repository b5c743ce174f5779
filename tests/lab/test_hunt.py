"""Hunts: seeds that must break nothing, and planted bugs that must be found."""

from functools import cache
from pathlib import Path
from statistics import median

import pytest

from recipes.core.errors import BadArguments
from recipes.lab.casts import PROTOCOLS
from recipes.lab.checks.registry import CHECKS
from recipes.lab.expectations import follow_state
from recipes.lab.hunt import HUNTING, hunt, scenario_of
from recipes.lab.plants.registry import PLANTS
from recipes.lab.run import run
from recipes.lab.scenario import load

# The first seed at which each planted bug shows; a change of a protocol or of the hunt may move it.
FIRST = {
    "2pc-told-before-stored": 100, "2pc-changes-its-mind": 14, "2pc-rolls-back-alone": 8,
    "2pc-reads-locked": 3, "2pc-never-asks": 8,
    "3pc-timeout-decides": 3, "paxos1-forgets": 3, "paxos2-old-epoch": 4, "paxos2-clock": 3, "paxos-adopts-first": 14,
    "paxos-counts-values": 7, "paxos-epoch-reused": 9, "multi-accept-below-promise": 10, "multi-counts-anything": 6,
    "multi-ballot-reused": 5, "multi-never-stands-again": 5, "backup-takes-gaps": 2,
    "backup-copies-before-own-disk": 234,
    "backup-promoted-unfenced": 2, "raft-counts-earlier-term": 15, "raft-votes-for-older-log": 6, "raft-rolls-back": 2,
    "raft-no-check-of-the-entry-before": 12, "raft-counts-before-sync": 3, "raft-commit-index-falls": 6,
    "zab-tail-not-cut": 28, "multi-hole-skipped": 1804, "multi-adopts-first": 1811, "raft-vote-counted-twice": 7,
    "raft-conflict-not-deleted": 12,
    "raft-deletes-without-conflict": 29, "raft-snapshot-without-term": 3,
}  # fmt: skip
BY_SCENARIO = {  # too rare for chance: this scenario finds it
    "raft-no-read-index": "raft-read-index",
    "zab-highest-id-wins": "zab-newest-wins",
}  # fmt: skip


@pytest.mark.thorough  # eight runs of each protocol
@pytest.mark.parametrize("protocol", HUNTING)
def test_no_seed_breaks_a_protocol(protocol):
    for seed, outcome in hunt(protocol, range(1, 9)):
        assert (outcome.broken, outcome.wrong, outcome.waits_for) == ({}, (), ""), seed


def test_a_client_that_connects_to_a_server_that_stands_still_is_answered():
    ((_, outcome),) = hunt("zab", range(230, 231))  # the client says its first words to a kernel
    assert (outcome.broken, outcome.wrong, outcome.waits_for) == ({}, (), "")


@cache
def outcome_of(name, seed=None):
    """The run of a planted bug that shows it."""
    if seed is None and name in BY_SCENARIO:
        return run(load(BY_SCENARIO[name]), plant=name)
    seed = seed or FIRST.get(name, 1)
    ((_, outcome),) = hunt(PLANTS[name].protocol, range(seed, seed + 1), name)
    return outcome


@pytest.mark.thorough  # a run or two for each planted bug
@pytest.mark.parametrize("name", PLANTS)
def test_each_planted_bug_is_found(name):
    outcome = outcome_of(name)
    assert set(PLANTS[name].finds) & outcome.broken.keys()
    for broken in outcome.broken.values():
        assert 0 <= broken.event < len(outcome.trace.events)
        assert broken.why and broken.why_zh


# Runs in which a check finds a planted bug, where those above show other checks only: the bug and the seed.
ALSO = {"A5": ("zab-half-is-enough", 30), "Z1": ("zab-half-is-enough", 232)}


@pytest.mark.thorough  # a run for each check
@pytest.mark.parametrize("name", CHECKS)
def test_every_check_finds_a_planted_bug(name):
    tried = [ALSO[name]] if name in ALSO else [(each, None) for each in PLANTS if name in PLANTS[each].finds]
    assert tried
    assert any(name in outcome_of(bug, seed).broken for bug, seed in tried)


def test_the_page_says_how_many_seeds_they_take():
    seeds = sorted(FIRST.get(name, 1) for name in PLANTS if name not in BY_SCENARIO)
    said = (
        f"Hunts find {len(seeds)} of them: the median takes {int(median(seeds))} seeds, the worst {seeds[-1]:,}. "
        f"{len(BY_SCENARIO)} are too rare for chance, and a scenario finds each: "
    )
    text = " ".join((Path(__file__).parents[2] / "docs" / "lab.md").read_text().split())
    assert said in text
    assert all(f"`{name}` (`{scenario}`)" in text for name, scenario in BY_SCENARIO.items())


def test_every_check_of_a_protocol_is_known():
    for protocol in PROTOCOLS.values():
        assert set(protocol.checks) <= CHECKS.keys()


def test_every_protocol_is_hunted_and_a_seed_is_one_scenario():
    assert HUNTING.keys() == PROTOCOLS.keys()
    for protocol in HUNTING:
        assert scenario_of(protocol, 7) == scenario_of(protocol, 7)


def states(trace):
    """After each event: what each running site shows."""
    shown = {}
    for event in trace.events:
        if event["k"] in ("crash", "power"):
            shown.pop(event["n"], None)
        follow_state(shown, event)
        yield event, shown


def two_lead(trace):
    """Two sites that run take themselves for the leader, each with a number of its own."""
    for _, shown in states(trace):
        numbers = [str(state["number"]) for state in shown.values() if state.get("role") == "leader"]
        if len(set(numbers)) > 1:
            return True
    return False


def has_a_hole(trace):
    return any(
        slot - 1 not in state["chosen"]
        for event, shown in states(trace)
        for state in shown.values()
        for slot in state.get("chosen") or ()
        if event["k"] == "state" and slot > 1
    )


def cuts_its_log(trace):
    """A server deletes entries, which a snapshot does not: that deletes all."""
    return any(
        event["k"] == "write" and event["what"].startswith("log:") and event["value"] is None for event in trace.events
    )


def a_number_overtaken(trace):
    return any(event["k"] == "send" and event["real"] == "REFUSED" for event in trace.events)


def writes_unknown(trace):
    """A client never learns what became of its write, and the write is done."""
    calls = {each["call"]: each["op"] for each in trace.events if each["k"] == "call"}
    texts = {each["value"] for each in trace.events if each["k"] == "write" and isinstance(each.get("value"), str)}
    return any(
        each["k"] == "reply" and each["outcome"] == "unknown" and calls[each["call"]][0] == "set"
        and f"set /{calls[each['call']][1]} {calls[each['call']][2]}" in texts
        for each in trace.events
    )  # fmt: skip


SOMETIMES = {
    "multi-paxos": (has_a_hole, two_lead, a_number_overtaken),
    "raft": (cuts_its_log, two_lead, writes_unknown),
    "zab": (cuts_its_log, writes_unknown),
    "paxos": (a_number_overtaken,),
    "paxos_log": (a_number_overtaken,),
}


@pytest.mark.thorough  # seeds until all of it has happened
@pytest.mark.parametrize("protocol", SOMETIMES)
def test_hunts_get_where_it_is_dangerous(protocol):
    missing = list(SOMETIMES[protocol])
    for _, outcome in hunt(protocol, range(1, 201)):
        missing = [each for each in missing if not each(outcome.trace)]
        if not missing:
            return
    raise AssertionError(f"in 200 seeds never: {', '.join(each.__name__ for each in missing)}")


def test_wrong_arguments_are_refused():
    for arguments, said in [(("fax",), "no protocol to hunt"), (("paxos", "2pc-never-asks"), "belongs to 2pc")]:
        with pytest.raises(BadArguments, match=said):
            list(hunt(arguments[0], range(1), *arguments[1:]))
