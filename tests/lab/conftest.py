"""Runs of scenarios, each made once: several tests look at the same one. And the command."""

from collections.abc import Callable
from functools import cache

import pytest

from recipes.cli import main
from recipes.lab.run import Outcome, run
from recipes.lab.scenario import load

Lab = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def outcome() -> Callable[[str], Outcome]:
    """outcome(id): the run of a scenario of the package, with its own seed."""
    return cache(lambda name: run(load(name)))


@pytest.fixture
def lab(capsys: pytest.CaptureFixture[str]) -> Lab:
    """lab(*arguments): exit code, output, errors."""

    def lab(*arguments: str) -> tuple[int, str, str]:
        code = main(["lab", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return lab
