"""The sums of a soak: nothing that a run has found, or has not judged, gets lost among the others."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from tests.chaos.episode import Report
from tests.chaos.totals import Totals

QUIET = Report(
    3, 1, {"kill leader": 2, "wipe follower": 1}, {"ok": 1000, "granted": 7}, 1, 500, 100.0,
    {"kill leader": 0.4, "wipe follower": 0.1},
)  # fmt: skip


def row(seed: int, **changed: object) -> dict[str, object]:
    return asdict(QUIET) | {"seed": seed, "commit": "1234abc"} | changed


def test_rows_of_the_file_are_summed_and_read_as_a_page(tmp_path):
    file = tmp_path / "soak.jsonl"
    rows = [row(1), row(2, gaps_s={"kill leader": 1.3, "wipe follower": 0.0}, commit="5678def")]
    file.write_text("".join(json.dumps(each) + "\n" for each in rows))
    assert str(Totals.of_file(file)).splitlines() == [
        "2 runs of 1234abc, 5678def",
        "6 faults in 200 s, one in 33.3 s; each kind, and the longest time without an acknowledged write:",
        "  kill leader              4    1.30 s",
        "  wipe follower            2    0.10 s",
        "operations: 14 granted, 2,000 ok; 1,000 txns",
        "snapshots sent to wiped servers: 2",
        "violations: 0",
        "runs not judged: 0",
    ]


def test_what_was_found_and_what_was_not_judged_is_named_with_its_seed():
    totals = Totals()
    for each in (row(1), row(2, violations=["Z2 two txns"]), row(3, unjudged="txn 0x7 is in no log")):
        totals.add(each)
    assert str(totals).splitlines()[-4:] == [
        "violations: 1",
        "  seed 2: Z2 two txns",
        "runs not judged: 1",
        "  seed 3: txn 0x7 is in no log",
    ]


@pytest.mark.parametrize(("runs", "unjudged", "too_many"), [(1, 1, True), (19, 1, True), (20, 1, False), (39, 2, True)])
def test_one_run_in_twenty_may_be_without_a_verdict(runs, unjudged, too_many):
    totals = Totals()
    for seed in range(runs):
        totals.add(row(seed, unjudged="txn 0x7 is in no log" if seed < unjudged else ""))
    assert totals.too_many_unjudged is too_many


def test_no_file_is_no_runs(tmp_path):
    assert Totals.of_file(tmp_path / "none.jsonl").runs == 0
