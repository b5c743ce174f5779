"""What a planted bug is, and the list of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

Patch = pytest.MonkeyPatch


class PlantedBug(NamedTuple):
    """One bug. plant: patches it in. faults: the only kinds there are in its runs, where the bug needs them often."""

    name: str
    plant: Callable[[Patch], None]
    recipe: str
    seed: int | None
    breaks: str
    faults: tuple[str, ...] | None


PLANTED: list[PlantedBug] = []


def planted(recipe: str, seed: int | None, breaks: str, faults: tuple[str, ...] | None = None) -> Any:
    def add(plant: Callable[[Patch], None]) -> None:
        PLANTED.append(PlantedBug(plant.__name__, plant, recipe, seed, breaks, faults))

    return add
