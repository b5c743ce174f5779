"""Every benchmark can be started: they are run by hand, and type-checked by nobody."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2] / "benchmarks"
MODULES = sorted(path.stem for path in HOME.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_is_imported(name):
    assert importlib.import_module(f"benchmarks.{name}").__doc__


@pytest.mark.parametrize("name", [name for name in MODULES if '"__main__"' in (HOME / f"{name}.py").read_text()])
def test_a_benchmark_says_how_it_is_started(name):
    words = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    asked = subprocess.run(words, capture_output=True, text=True, cwd=HOME.parent)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout.startswith("usage: python -m benchmarks")
