"""pytest fixtures, found by pytest itself once the package is installed.

`recipes_server`: the `host:port` of one server, shared by all tests of a run; keep to a path of your own.
`recipes_ensemble`: an Ensemble of three for one test, to break as it likes.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from recipes.testing.ensemble import Ensemble

# Imports are made when a fixture is used: every run of pytest loads this module, also those that never use it.


@pytest.fixture(scope="session")
def recipes_server() -> Iterator[str]:
    """Where a server listens that ends with the run."""
    from recipes.testing.ensemble import Ensemble

    with Ensemble(1) as ensemble:
        yield ensemble.hosts


@pytest.fixture
def recipes_ensemble() -> "Iterator[Ensemble]":
    """Three servers that vote, in this process."""
    from recipes.testing.ensemble import Ensemble

    with Ensemble(3) as ensemble:
        yield ensemble
