"""Runs of scenarios, each made once: several tests look at the same one."""

from collections.abc import Callable
from functools import cache

import pytest

from recipes.lab.run import Outcome, run
from recipes.lab.scenario import load


@pytest.fixture(scope="session")
def outcome() -> Callable[[str], Outcome]:
    """outcome(id): the run of a scenario of the package, with its own seed."""
    return cache(lambda name: run(load(name)))
