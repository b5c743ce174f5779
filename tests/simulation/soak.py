"""Soaks by simulation: a row per task in a file, written as it is found, so that one can be interrupted and go on."""

import json
import re
import subprocess
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import pytest

from tests.simulation.conftest import take_small_slices

Task = TypeVar("Task")
Row = dict[str, Any]

UNKNOWN = "unknown"
DIRTY = "-dirty"


def commit_of(directory: Path = Path(__file__).parent) -> str:
    """The commit of the sources, with a mark where a file differs from it."""
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", f"--dirty={DIRTY}"]
    try:
        return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN


def earlier_rows(path: Path, commit: str) -> list[Row]:
    """What was found with the same sources: none where nobody can tell that they are the same."""
    if commit == UNKNOWN or commit.endswith(DIRTY) or not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if row.get("commit") == commit]


def add_rows(path: Path, commit: str, hunt: Callable[[Task], Row], tasks: Iterable[Task]) -> list[Row]:
    """Carry out the tasks on all cores; others may append to the same file meanwhile."""
    rows = []
    with path.open("a") as file, get_context("spawn").Pool() as pool:
        for row in pool.imap_unordered(partial(_timed, hunt), tasks):
            row["commit"] = commit
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows.append(row)
    return rows


def _timed(hunt: Callable[[Task], Row], task: Task) -> Row:
    began = perf_counter()
    row = hunt(task)
    return row | {"seconds": round(perf_counter() - began, 3)}


def hunt_planted(bug: Any, seeds: Iterable[int], run: Callable[[Any, int], Any], names: re.Pattern[str]) -> Row:
    """How many seeds it takes until the planted bug is found. names: of properties; any other error is no find."""
    take_small_slices()
    row: Row = {"bug": bug.name, "seed": None, "seeds": 0, "problem": None, "events": 0, "virtual_ms": 0}
    with pytest.MonkeyPatch.context() as patch:
        bug.plant(patch)
        for seed in seeds:
            verdict = run(bug, seed)
            row["seeds"] += 1
            row["events"] += verdict.events
            row["virtual_ms"] += verdict.at_us // 1000
            if names.fullmatch(verdict.broken):
                return row | {"seed": seed, "problem": verdict.problem}
    return row


def totals(commit: str, rows: list[Row]) -> str:
    """What a soak came to. seeds: how many a row is about, 1 where it does not say."""
    seeds, events = sum(row.get("seeds", 1) for row in rows), sum(row["events"] for row in rows)
    hours, seconds = sum(row["virtual_ms"] for row in rows) / 3_600_000, sum(row["seconds"] for row in rows)
    speed = events / seconds if seconds else 0
    violations = sum(row["problem"] is not None for row in rows)
    return (
        f"{seeds} seeds, {events} events, {hours:.1f} virtual hours, {speed:.0f} events/s per process, "
        f"commit {commit}, {violations} violations"
    )
