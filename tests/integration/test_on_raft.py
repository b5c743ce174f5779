"""What one server passes, a follower of three that run raft passes: the tests of clients, recipes and shells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.thorough  # the simulation shows the same of raft, sooner
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "names",
    [
        ("conformance",),
        ("core/client", "test_blocks.py"),
        ("lock", "election"),
        ("barrier", "queue"),
        ("cache", "counter", "membership", "test_renewal.py"),
        ("blocking", "transaction"),
    ],
    ids=" ".join,
)
def test_tests_of_a_shared_server_pass_on_raft(names):
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--on", "raft", "-k", "not trio"]
    paths = [str(TESTS / name) for name in names]
    done = subprocess.run([*command, *paths], cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-6000:]}{done.stderr[-2000:]}"
