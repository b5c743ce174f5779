"""A soak counts what was found with these sources, and nothing else."""

import json
import shutil
import subprocess

from tests.simulation.soak import UNKNOWN, add_rows, commit_of, earlier_rows, totals

ROW = {"seed": 1, "problem": None, "events": 500, "virtual_ms": 3_600_000, "seconds": 0.25}


def row_of(seed):
    return {"seed": seed}


def test_rows_of_other_sources_are_not_counted(tmp_path):
    path = tmp_path / "soak.jsonl"
    assert earlier_rows(path, "abc") == []
    rows = [{"seed": 1}, {"seed": 2, "commit": "abc"}, {"seed": 3, "commit": "abd"}, {"seed": 4, "commit": "abc-dirty"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert earlier_rows(path, "abc") == [{"seed": 2, "commit": "abc"}]


def test_sources_that_are_no_commit_are_never_the_same(tmp_path):
    path = tmp_path / "soak.jsonl"
    for commit in ("abc-dirty", UNKNOWN):
        path.write_text(json.dumps({"seed": 1, "commit": commit}) + "\n")
        assert earlier_rows(path, commit) == []


def test_rows_are_appended_with_their_time_and_commit(tmp_path):
    path = tmp_path / "soak.jsonl"
    path.write_text('{"seed": 1}\n')
    rows = add_rows(path, "abc", row_of, [2, 3])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"seed": 1}, *rows]
    assert sorted(row["seed"] for row in rows) == [2, 3]
    assert all(row["commit"] == "abc" and row["seconds"] >= 0 for row in rows)


def test_totals_say_how_much_was_done_and_how_fast():
    rows = [ROW, ROW | {"seeds": 3, "problem": "Z1 two leaders"}]
    expected = "4 seeds, 1000 events, 2.0 virtual hours, 2000 events/s per process, commit abc, 1 violations"
    assert totals("abc", rows) == expected


def test_a_changed_file_marks_the_commit(tmp_path, need_tool):
    need_tool("git", shutil.which("git") is not None)

    def git(*words):
        by = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
        subprocess.run(["git", *by, *words], cwd=tmp_path, capture_output=True, check=True)

    assert commit_of(tmp_path) == UNKNOWN
    git("init")
    (tmp_path / "a.py").write_text("one")
    git("add", ".")
    git("commit", "--message", "one")
    commit = commit_of(tmp_path)
    assert len(commit) == 12
    (tmp_path / "a.py").write_text("two")
    assert commit_of(tmp_path) == f"{commit}-dirty"
