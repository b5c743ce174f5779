"""What our hooks make of a run: tests that are left out, tools that are missing, what a failed test leaves open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis.strategies import just

from tests import timing
from tests.conftest import need
from tests.remaining import Remaining

ROOT = Path(__file__).resolve().parent.parent
TESTS = """
import gc
import socket

import pytest


def test_leaves_a_socket_open():
    left = socket.socket()
    assert left is None


def test_finds_it():
    gc.collect()


@pytest.mark.needs("no-such-tool")
def test_runs_a_tool():
    raise AssertionError("it was not asked for")


@pytest.mark.thorough
def test_takes_long():
    assert True
"""


def test_a_failed_test_fails_no_other_and_a_missing_tool_none(tmp_path):
    path = tmp_path / "test_these.py"
    path.write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, "-n0"]
    command += ["-p", "tests.conftest", "-p", "no:cacheprovider", path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert "1 failed, 1 passed, 1 skipped, 1 deselected" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1
    assert "needs no-such-tool" in done.stdout
    assert "test_leaves_a_socket_open" in done.stdout.partition("where the time went")[2]


@pytest.mark.parametrize(("everything", "outcome"), [(False, pytest.skip.Exception), (True, pytest.fail.Exception)])
def test_a_missing_tool_is_a_skip_and_a_failure_where_everything_is_to_run(everything, outcome):
    config = SimpleNamespace(getoption={"--everything": everything}.__getitem__)
    need(config, "a tool that is here", True)
    with pytest.raises(outcome, match="needs a tool that is not"):
        need(config, "a tool that is not", False)


@pytest.mark.parametrize("judged", [False, True])
def test_a_run_that_takes_too_much_processor_time_fails_where_that_is_asked_for(monkeypatch, judged):
    config = SimpleNamespace(getoption=lambda option: option == "--within-limit" and judged)
    session = SimpleNamespace(config=config, exitstatus=pytest.ExitCode.OK)
    plugin = timing.Timing()
    plugin.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.OK
    monkeypatch.setattr(timing, "LIMIT_SECONDS", 0.0)
    plugin.pytest_sessionfinish(session)
    assert session.exitstatus == (pytest.ExitCode.TESTS_FAILED if judged else pytest.ExitCode.OK)


def test_the_limit_is_for_what_is_not_thorough():
    plugin = timing.Timing()
    for keywords in ({}, {"thorough": 1}):
        report = SimpleNamespace(nodeid="a test", duration=1.0, keywords=keywords, cpu_seconds=1e6)
        plugin.pytest_runtest_logreport(report)
    plugin.pytest_sessionfinish(SimpleNamespace(config=SimpleNamespace(getoption=lambda _: True), exitstatus=0))
    assert plugin._default_cpu < 0


def test_what_passed_is_left_out_of_the_next_run_of_the_same_files():
    stored = {}
    cache = SimpleNamespace(get=stored.get, set=stored.__setitem__)
    options = {"--remaining": False}
    hook = SimpleNamespace(pytest_deselected=lambda items: None)
    config = SimpleNamespace(cache=cache, getoption=options.__getitem__, hook=hook)
    first = Remaining()
    for nodeid, when, outcome in [
        ("good", "call", "passed"),
        ("bad", "call", "failed"),
        ("skipped", "setup", "skipped"),
        ("ends badly", "call", "passed"),
        ("ends badly", "teardown", "failed"),
        ("tries more", "call", "passed"),
    ]:
        first.pytest_runtest_logreport(SimpleNamespace(nodeid=nodeid, when=when, passed=outcome == "passed"))
    first.pytest_sessionfinish(SimpleNamespace(config=config))
    options["--remaining"] = True
    more = given(just(1))(lambda number: None)
    items = [
        SimpleNamespace(nodeid=each, obj=more if each == "tries more" else print)
        for each in ("good", "bad", "skipped", "ends badly", "tries more", "new")
    ]
    Remaining().pytest_collection_modifyitems(config, items)
    assert [item.nodeid for item in items] == ["bad", "skipped", "ends badly", "tries more", "new"]
