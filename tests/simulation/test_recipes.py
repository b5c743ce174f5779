"""Recipes on simulated ensembles, with processes that die, stand still and are cut off: what each promises holds.

One seed: `pytest tests/simulation/test_recipes.py -k one_seed --seed 4711 --recipe lock`. A hunt, on all cores, that
can be interrupted and goes on where it was: `pytest tests/simulation/test_recipes.py -m soak --seeds 1-5000`; it
appends a line per seed to soak-recipes.jsonl, and how many seeds each planted bug takes to soak-planted-recipes.jsonl.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from recipes.core.sim.process_faults import PROCESS_FAULTS
from tests.simulation.conftest import take_small_slices
from tests.simulation.recipes.planted import PLANTED
from tests.simulation.recipes.runs import WORKLOADS, plan_of, replay_command, run_seed
from tests.simulation.soak import add_rows, commit_of, earlier_rows, hunt_planted, totals

SOAK_FILE = Path("soak-recipes.jsonl")
PLANTED_FILE = Path("soak-planted-recipes.jsonl")
PROPERTY = re.compile(r"[CELRWZ]\d+")
SEEDS = range(1, 13)  # of each recipe, in each thorough run of the tests; with those of transactions more than 400
TRANSACTIONS, SLICE = 300, 75  # seeds of transactions there, and in each test
# Of others, which a quick run goes through.
VARIANTS = (
    "naming", "renewed-queue", "renewed-cache", "renewed-election", "succession", "rwlock", "semaphore", "membership",
    "lease",
)  # fmt: skip
OLDEST = ("lock", "election")  # of which each run of the tests goes through more
NEXT_SEEDS = 30  # in which a planted bug is looked for when its own seed does not show it any more
ENOUGH = 24  # seeds for everything that a recipe expects to happen
BUG = next(bug for bug in PLANTED if bug.name == "leaving_gives_up_on_a_lost_connection")


def run_all(recipe, seeds):
    counts = {}
    for seed in seeds:
        verdict = run_seed(seed, recipe)
        if verdict.problem is not None:
            notes = "\n".join(verdict.notes[-40:])
            pytest.fail(f"{verdict.problem}\n{notes}\nreplay with: {replay_command(seed, recipe)}")
        for what, count in verdict.counts.items():
            counts[what] = counts.get(what, 0) + count
    return counts


def never_happened(counts, recipe):
    expected = (*PROCESS_FAULTS, *WORKLOADS[recipe].expected, "session", "session lost", "step dropped")
    return [what for what in expected if not counts.get(what)]


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=[pytest.mark.thorough] if name in VARIANTS else []) for name in WORKLOADS]
)
def test_some_seeds(recipe):
    assert run_all(recipe, range(101, 102))


def seeds_of_recipes():
    for recipe in WORKLOADS:
        if recipe == "transaction":
            for first in range(1, TRANSACTIONS + 1, SLICE):
                yield pytest.param(recipe, range(first, first + SLICE), id=f"{recipe}-{first}")
        else:
            yield pytest.param(recipe, range(1, 25) if recipe in OLDEST else SEEDS, id=recipe)


@pytest.mark.thorough  # the same with more seeds, enough for everything to happen
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("recipe", "seeds"), list(seeds_of_recipes()))
def test_recipe(recipe, seeds):
    assert never_happened(run_all(recipe, seeds), recipe) == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("recipe", "seed"),
    [
        ("lock", 160),
        ("membership", 5),
        ("membership", 10154),
        ("membership", 10251),
        ("membership", 10294),
        ("queue", 200),
        ("queue", 10056),
        ("naming", 334),
        ("renewed-election", 342),
        ("renewed-election", 10125),
        ("renewed-queue", 153),
        ("renewed-queue", 10028),
        ("renewed-cache", 107),
        ("semaphore", 145),
        ("rwlock", 30302),
        ("rwlock", 20081),
        ("barrier", 228),
        ("barrier", 10056),
        ("succession", 10224),
        ("succession", 20273),
        ("transaction", 4235),
    ],
)
def test_seeds_that_failed_once(recipe, seed):
    run_all(recipe, [seed])


def test_five_servers():
    assert run_seed(1, "lock", voters=5).problem is None


@pytest.mark.parametrize("recipe", WORKLOADS)
def test_each_seed_has_its_share_of_steps(recipe):
    assert all(len(plan_of(seed, recipe).steps) >= 200 for seed in SEEDS[:8])


@pytest.mark.thorough  # test_ensemble.py shows it of the ground that all stand on
def test_the_same_seed_gives_the_same_trace_under_another_hash_seed():
    recipes = [name for name in WORKLOADS if name not in VARIANTS]
    program = (
        "from tests.simulation.recipes.runs import run_seed\n"
        f"print(*[run_seed(seed, recipe).trace for recipe in {recipes} for seed in (1,)])"
    )
    traces = {
        subprocess.run(
            [sys.executable, *flags, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, flags in (("1", ()), ("2", ("-O",)))
    }
    assert len(traces) == 1


@pytest.mark.replay
def test_one_seed(pytestconfig):
    seed, recipe = pytestconfig.getoption("--seed"), pytestconfig.getoption("--recipe")
    verdict = run_seed(seed, recipe)
    if verdict.problem is not None:
        report = "\n".join([*verdict.notes, verdict.problem])
        pytest.fail(f"{report}\nreplay with: {replay_command(seed, recipe)}", pytrace=False)


WITH_THE_BUG = """
import sys
import pytest
class Planting:
    def pytest_collection_finish(self):
        from tests.simulation.test_recipes import BUG
        BUG.plant(pytest.MonkeyPatch())
sys.exit(pytest.main(sys.argv[1:], plugins=[Planting()]))
"""


@pytest.mark.thorough  # as in test_replay.py
def test_the_command_a_failing_seed_prints_replays_it(monkeypatch):
    BUG.plant(monkeypatch)
    with pytest.raises(pytest.fail.Exception) as failure:
        run_all(BUG.recipe, [BUG.seed])
    problem, *_, last = str(failure.value).splitlines()
    pytest_, *arguments = shlex.split(last.removeprefix("replay with: "))
    assert pytest_ == "pytest"
    replay = subprocess.run([sys.executable, "-c", WITH_THE_BUG, *arguments], capture_output=True, text=True)
    assert replay.returncode == 1
    assert problem in replay.stdout.splitlines()


# Planted bugs.


def test_there_are_enough_planted_bugs():
    assert len({bug.name for bug in PLANTED if bug.seed is not None}) >= 16


def seeded_bugs():
    seen = set()
    for bug in PLANTED:
        if bug.seed is not None:
            # A second each: a quick run has one of each of the oldest.
            quick = bug.recipe in OLDEST and bug.recipe not in seen
            seen.add(bug.recipe)
            yield pytest.param(bug, id=bug.name, marks=() if quick else pytest.mark.thorough)


@pytest.mark.parametrize("bug", list(seeded_bugs()))
def test_planted_bug_is_found_by_the_property_it_breaks(bug):
    """By its seed; where the code under test has changed since, one of the next finds it."""
    with pytest.MonkeyPatch.context() as planting:
        bug.plant(planting)
        for seed in range(bug.seed, bug.seed + NEXT_SEEDS):
            verdict = run_seed(seed, bug.recipe, faults=bug.faults)
            if verdict.broken == bug.breaks:
                break
    assert verdict.broken == bug.breaks, verdict.problem
    assert run_seed(seed, bug.recipe, faults=bug.faults).problem is None, "without the bug there is nothing to find"


# The hunts.


def hunt_one(task):
    recipe, seed = task
    take_small_slices()
    verdict = run_seed(seed, recipe)
    row = {"recipe": recipe, "seed": seed, "problem": verdict.problem, "events": verdict.events}
    return row | {"virtual_ms": verdict.at_us // 1000, "never": never_happened(verdict.counts, recipe)}


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("recipe", WORKLOADS)
def test_hunt(recipe, pytestconfig, capsys):
    first, _, last = pytestconfig.getoption("--seeds").partition("-")
    seeds, commit = range(int(first), int(last) + 1), commit_of()
    earlier = [row for row in earlier_rows(SOAK_FILE, commit) if row["recipe"] == recipe and not row["problem"]]
    done = {row["seed"]: row for row in earlier if row["seed"] in seeds}
    tasks = [(recipe, seed) for seed in seeds if seed not in done]
    rows = [*done.values(), *add_rows(SOAK_FILE, commit, hunt_one, tasks)]
    with capsys.disabled():
        print(f"\n{recipe}: {totals(commit, rows)}")  # noqa: T201
    broken = {row["seed"]: row["problem"] for row in rows if row["problem"]}
    assert [f"{replay_command(seed, recipe)}: {broken[seed]}" for seed in sorted(broken)] == []
    if len(rows) >= ENOUGH:
        assert [what for what in rows[0]["never"] if all(what in row["never"] for row in rows)] == []


def run_bug(bug, seed):
    return run_seed(seed, bug.recipe, faults=bug.faults)


def hunt_bug(task):
    number, first, last = task
    return hunt_planted(PLANTED[number], range(first, last + 1), run_bug, PROPERTY)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_how_many_seeds_each_planted_bug_takes(pytestconfig, capsys):
    first, _, last = pytestconfig.getoption("--seeds").partition("-")
    commit = commit_of()
    done = {row["bug"]: row for row in earlier_rows(PLANTED_FILE, commit) if row["seed"] is not None}
    tasks = [(number, int(first), int(last)) for number, bug in enumerate(PLANTED) if bug.name not in done]
    rows = [*done.values(), *add_rows(PLANTED_FILE, commit, hunt_bug, tasks)]
    taken = sorted(row["seeds"] for row in rows)
    with capsys.disabled():
        print(f"\n{len(rows)} planted bugs: median {median(taken)}, worst {taken[-1]} seeds")  # noqa: T201
        print(totals(commit, rows))  # noqa: T201
    assert [row["bug"] for row in rows if row["seed"] is None] == []
