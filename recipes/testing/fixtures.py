"""pytest fixtures, found by pytest itself once the package is installed.

`recipes_server`: hosts for one test. All tests of a run share the server; each has a path of its own, so that it finds
nothing that earlier tests left. `recipes_shared_server`: the same server without such a path, for fixtures of a wider
scope. `recipes_store`: the empty store that `connect()` joins in one test, in place of the user's own store.
`recipes_ensemble`: an Ensemble of three for one test, which may break it.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from recipes.testing.ensemble import Ensemble

# Fixtures import when they are used: every run of pytest loads this module, even if it uses none of them.

_numbers = count(1)


@pytest.fixture(scope="session")
def recipes_shared_server() -> Iterator[str]:
    """Hosts of a server that ends with the run."""
    from recipes.testing.ensemble import Ensemble

    with Ensemble(1) as ensemble:
        yield ensemble.hosts


@pytest.fixture
def recipes_server(recipes_shared_server: str) -> str:
    """Hosts of the run's server, with a chroot of this test's own."""
    from recipes.core.client.connect import connect
    from recipes.embedded import LoopThread

    chroot = f"/test-{next(_numbers)}"

    async def make_chroot() -> None:
        async with connect(recipes_shared_server) as client:
            await client.create(chroot)

    thread = LoopThread("recipes-fixture")  # an event loop may be running in this thread
    try:
        thread.call(make_chroot)
    finally:
        thread.close()
    return recipes_shared_server + chroot


@pytest.fixture
def recipes_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of an empty store, which RECIPES_STORE names during the test. Its process ends with the test."""
    from recipes.store.directory import StoreDirectory
    from recipes.store.moving import stop

    place = StoreDirectory(tmp_path / "recipes-store")
    monkeypatch.setenv("RECIPES_STORE", str(place.directory))
    monkeypatch.delenv("RECIPES_HOSTS", raising=False)
    yield place.directory
    if place.directory.is_dir():
        stop(place)


@pytest.fixture
def recipes_ensemble() -> "Iterator[Ensemble]":
    """Three servers that vote, in this process."""
    from recipes.testing.ensemble import Ensemble

    with Ensemble(3) as ensemble:
        yield ensemble
