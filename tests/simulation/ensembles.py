"""What the tests of raft, Multi-Paxos and primary-backup do with seeds of simulated ensembles: run, replay, hunt.

One seed: `pytest tests/simulation/test_raft.py -k one_seed --seed 4711 [--ensemble 5+1] [--shrink]`. A hunt:
`pytest tests/simulation/test_raft.py -m soak --seeds 1-5000`, into soak-raft.jsonl. The same with the files of the
other protocols.
"""

import re
from pathlib import Path
from statistics import median

import pytest

from tests.simulation.conftest import replay_command, run_seed, shrunk, take_small_slices
from tests.simulation.soak import add_rows, commit_of, earlier_rows, hunt_planted, totals

ENOUGH = 200  # seeds for all of it to happen
PROPERTY = re.compile(r"(RF|[ABCELPW])\d+")  # see docs/raft.md and docs/multi-paxos.md; any other error is no find


def run_all(seeds, servers, observers, protocol, kinds=()):
    counts: dict[str, int] = {}
    for seed in seeds:
        verdict = run_seed(seed, servers, observers, kinds, protocol)
        if verdict.problem is not None:
            notes = "\n".join(verdict.notes[-40:])
            command = replay_command(seed, servers, observers, protocol)
            pytest.fail(f"{verdict.problem}\n{notes}\nreplay with: {command}")
        for what, count in verdict.counts.items():
            counts[what] = counts.get(what, 0) + count
    return counts


def replay(config, protocol, kinds=()):
    """Run the seed that the command line names."""
    seed = config.getoption("--seed")
    servers, observers = map(int, config.getoption("--ensemble").split("+"))
    verdict = run_seed(seed, servers, observers, kinds, protocol)
    if verdict.problem is None:
        return
    report = "\n".join([*verdict.notes, verdict.problem])
    if config.getoption("--shrink"):
        plan, smaller = shrunk(seed, servers, observers, protocol, kinds)
        lines = [str(each) for each in (*plan.faults, *plan.operations, plan._replace(faults=[], operations=[]))]
        report = "\n".join([*smaller.notes, smaller.problem or "", *lines])
    pytest.fail(f"{report}\nreplay with: {replay_command(seed, servers, observers, protocol)}", pytrace=False)


def hunt_one(task):
    seed, servers, observers, protocol, kinds, expected = task
    take_small_slices()
    verdict = run_seed(seed, servers, observers, kinds, protocol)
    row = {"ensemble": f"{servers}+{observers}", "seed": seed, "problem": verdict.problem, "events": verdict.events}
    row |= {"virtual_ms": verdict.at_us // 1000, "recovered_ms": verdict.recovered_us // 1000}
    return row | {"never": [what for what in expected if not verdict.counts.get(what)]}


def hunt(config, capsys, protocol, expected, kinds=()):
    """Run the seeds that the command line names, and those only that did not pass with this commit."""
    file = Path(f"soak-{protocol}.jsonl")
    first, _, last = config.getoption("--seeds").partition("-")
    ensemble = config.getoption("--ensemble")
    servers, observers = map(int, ensemble.split("+"))
    seeds, commit = range(int(first), int(last) + 1), commit_of()
    earlier = [row for row in earlier_rows(file, commit) if row["ensemble"] == ensemble and not row["problem"]]
    done = {row["seed"]: row for row in earlier if row["seed"] in seeds}
    tasks = [(seed, servers, observers, protocol, kinds, expected) for seed in seeds if seed not in done]
    rows = [*done.values(), *add_rows(file, commit, hunt_one, tasks)]
    with capsys.disabled():
        print(f"\n{ensemble}: {totals(commit, rows)}")  # noqa: T201
    broken = {row["seed"]: row["problem"] for row in rows if row["problem"]}
    commands = {seed: replay_command(seed, servers, observers, protocol) for seed in broken}
    assert [f"{commands[seed]}: {broken[seed]}" for seed in sorted(broken)] == []
    if len(rows) >= ENOUGH and servers >= 3:
        assert [what for what in expected if all(what in row["never"] for row in rows)] == []


def hunt_bugs(config, capsys, protocol, bugs, hunt_bug):
    """How many seeds each planted bug takes. hunt_bug(task): a function of a module, that calls `hunt_in`."""
    first, _, last = config.getoption("--seeds").partition("-")
    tasks = [(number, int(first), int(last)) for number in range(len(bugs))]
    rows = add_rows(Path(f"soak-planted-{protocol}.jsonl"), commit_of(), hunt_bug, tasks)
    taken = sorted(row["seeds"] for row in rows)
    with capsys.disabled():
        print(f"\n{len(rows)} planted bugs: median {median(taken)}, worst {taken[-1]} seeds")  # noqa: T201
        print(totals(commit_of(), rows))  # noqa: T201
    assert [row["bug"] for row in rows if row["seed"] is None] == []


def hunt_in(bugs, task, run):
    number, first, last = task
    return hunt_planted(bugs[number], range(first, last + 1), run, PROPERTY)
