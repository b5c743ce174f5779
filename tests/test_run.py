"""What our hooks make of a run: tests that are left out, tools that are missing, what a failed test leaves open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import need

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
