"""Real ensembles under load, killed, paused, cut off, wiped and filled: nothing acknowledged is lost.

`pytest -m soak tests/chaos --minutes 60` goes on for long, appends a line per run to soak-chaos.jsonl and says what all
lines of that file come to; a run is repeated with `--chaos-seed`, as far as real processes repeat.
With `--protocol raft` the servers run raft.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from random import SystemRandom

import pytest

from tests.chaos.episode import Report, run_episode
from tests.chaos.totals import Totals
from tests.servers import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
SOAK_FILE = ROOT / "soak-chaos.jsonl"
EPISODE_SECONDS = 100.0
ALWAYS = (
    "kill leader", "kill follower", "pause leader", "isolate leader", "rolling restart", "wipe follower", "full disk",
)  # fmt: skip


def check(report: Report, directory: Path) -> None:
    assert report.violations == [], f"seed {report.seed}, size {report.size}: see {directory}"
    assert report.operations["ok"] > 10 * sum(report.faults.values())
    assert report.operations["granted"] > 0
    assert report.snapshots_sent == report.faults.get("wipe follower", 0)


@pytest.mark.parametrize(
    ("size", "faults"),
    [
        (3, [*ALWAYS, "leader cannot send"]),
        # A minute of two cores; five servers in simulation are quick.
        pytest.param(5, [*ALWAYS, "bridge", "kill quorum", "reset peers", "reset clients"], marks=pytest.mark.thorough),
    ],
)
def test_nothing_acknowledged_is_lost(tmp_path, size, faults):
    report = run_episode(tmp_path, size, seed=size, faults=faults)
    sys.stdout.write(f"{json.dumps(asdict(report))}\n")
    check(report, tmp_path)
    assert report.unjudged == ""
    assert report.faults == dict.fromkeys(faults, 1)


@pytest.mark.thorough  # it judges the judge
def test_a_leader_that_commits_alone_is_found_out(tmp_path, monkeypatch):
    def command(server: ServerProcess) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("commits_alone.py")), "serve", str(server.config)]

    monkeypatch.setattr(ServerProcess, "command", command)
    # Each of these cuts is one after which another leads: the others break off at once, or it lasts long enough.
    report = run_episode(tmp_path, 3, seed=178, faults=["isolate leader"] * 4)
    assert any(violation.startswith(("C", "Z")) for violation in report.violations), report


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_soak(tmp_path, pytestconfig, capsys):
    first, protocol = pytestconfig.getoption("--chaos-seed"), pytestconfig.getoption("--protocol")
    seed = SystemRandom().randrange(1 << 32) if first is None else first
    until = time.monotonic() + 60 * pytestconfig.getoption("--minutes")
    commit = commit_under_test()
    runs = Totals()
    try:
        while time.monotonic() < until:
            directory = tmp_path / str(seed)
            size = 5 if seed % 3 == 0 else 3
            report = run_episode(directory, size, seed, seconds=EPISODE_SECONDS, protocol=protocol)
            row = asdict(report) | {"commit": commit, "protocol": protocol}
            with SOAK_FILE.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            runs.add(row)
            check(report, directory)
            if not report.unjudged:
                shutil.rmtree(directory)
            if first is not None:
                break
            seed += 1
    finally:
        with capsys.disabled():
            sys.stdout.write(f"\n{Totals.of_file(SOAK_FILE)}\n")
    assert not runs.too_many_unjudged, f"{runs.unjudged}: see {tmp_path}"


def commit_under_test() -> str:
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
