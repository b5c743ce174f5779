"""A seed that fails says how it is run again, and can be cut down to what it takes to fail in the same way."""

import shlex
import subprocess
import sys

import pytest

from recipes.core.sim.hunt import try_plan
from tests.simulation.conftest import plan_of, run_seed, shrunk, sources_of
from tests.simulation.planted import PLANTED
from tests.simulation.test_ensemble import run_all

BUG = next(bug for bug in PLANTED if bug.name == "session_expired_by_a_follower")
WITH_THE_BUG = """
import sys
import pytest
class Planting:
    def pytest_collection_finish(self):
        from tests.simulation.test_replay import BUG
        BUG.plant(pytest.MonkeyPatch())
sys.exit(pytest.main(sys.argv[1:], plugins=[Planting()]))
"""


@pytest.mark.thorough  # two runs of a failing seed, one of them by pytest
def test_the_command_a_failing_seed_prints_replays_it(monkeypatch):
    BUG.plant(monkeypatch)
    with pytest.raises(pytest.fail.Exception) as failure:
        run_all(range(BUG.seed, BUG.seed + 10), 3, 0)
    problem, *_, last = str(failure.value).splitlines()
    pytest_, *arguments = shlex.split(last.removeprefix("replay with: "))
    assert [pytest_, *arguments[-4:]] == ["pytest", "--seed", str(BUG.seed), "--ensemble", "3+0"]
    replay = subprocess.run([sys.executable, "-c", WITH_THE_BUG, *arguments], capture_output=True, text=True)
    assert replay.returncode == 1
    assert problem in replay.stdout.splitlines()
    assert last in replay.stdout.splitlines()


@pytest.mark.thorough  # it runs the seed a hundred times; nothing quick needs it
def test_a_shrunk_schedule_is_shorter_and_fails_in_the_same_way_each_time(monkeypatch):
    BUG.plant(monkeypatch)
    whole = plan_of(BUG.seed, 3, 0)
    plan, verdict = shrunk(BUG.seed, 3, 0)
    assert run_seed(BUG.seed).broken == verdict.broken == BUG.breaks
    assert len(plan.faults) + len(plan.operations) < len(whole.faults) + len(whole.operations)
    assert try_plan(plan, sources_of(BUG.seed)) == verdict
