"""Every benchmark can be started: they are run by hand, and type-checked by nobody."""

import importlib
from pathlib import Path

import pytest

MODULES = sorted(path.stem for path in (Path(__file__).parents[2] / "benchmarks").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_is_imported(name):
    assert importlib.import_module(f"benchmarks.{name}").__doc__
