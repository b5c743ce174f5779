"""What the runs of a soak come to, from their rows in soak-chaos.jsonl."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_RUNS_PER_UNJUDGED = 20  # in one of so many a part of the history may be in no log, removed before it was copied


class Totals:
    """Sums over rows, each the fields of a Report and the commit that was run; str() of it is for a reader.

    violations: seed and what was found. unjudged: seed and why it cannot be said whether clients saw what they should.
    """

    def __init__(self) -> None:
        self.runs = 0
        self.seconds = 0.0
        self.faults: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.longest_gap_s: dict[str, float] = {}
        self.snapshots_sent = self.txns = 0
        self.violations: list[tuple[int, str]] = []
        self.unjudged: list[tuple[int, str]] = []
        self.commits: dict[str, None] = {}  # in the order in which they were run

    @classmethod
    def of_file(cls, path: Path) -> Totals:
        """Of every row; of a file that is not there, of none."""
        totals = cls()
        for line in path.read_text().splitlines() if path.exists() else ():
            totals.add(json.loads(line))
        return totals

    def add(self, row: Mapping[str, Any]) -> None:
        self.runs += 1
        self.seconds += row["seconds"]
        self.faults.update(row["faults"])
        self.operations.update(row["operations"])
        for fault, gap_s in row["gaps_s"].items():
            self.longest_gap_s[fault] = max(gap_s, self.longest_gap_s.get(fault, 0.0))
        self.snapshots_sent += row["snapshots_sent"]
        self.txns += row["txns"]
        self.violations += [(row["seed"], found) for found in row["violations"]]
        if row["unjudged"]:
            self.unjudged.append((row["seed"], row["unjudged"]))
        self.commits[row.get("commit", "unknown")] = None

    @property
    def too_many_unjudged(self) -> bool:
        """Whether so many runs were not judged that the others say little."""
        return len(self.unjudged) * _RUNS_PER_UNJUDGED > self.runs

    def __str__(self) -> str:
        faults = self.faults.total()
        operations = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(self.operations.items()))
        lines = [
            f"{self.runs} runs of {', '.join(self.commits)}",
            f"{faults:,} faults in {self.seconds:,.0f} s, one in {self.seconds / max(faults, 1):.1f} s; each kind, "
            "and the longest time without an acknowledged write:",
            *(
                f"  {name:<20}{count:>6,}{self.longest_gap_s[name]:>8.2f} s"
                for name, count in self.faults.most_common()
            ),
            f"operations: {operations}; {self.txns:,} txns",
            f"snapshots sent to wiped servers: {self.snapshots_sent}",
            f"violations: {len(self.violations)}",
            *(f"  seed {seed}: {found}" for seed, found in self.violations),
            f"runs not judged: {len(self.unjudged)}",
            *(f"  seed {seed}: {why}" for seed, why in self.unjudged),
        ]
        return "\n".join(lines)
