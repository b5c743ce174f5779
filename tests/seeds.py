"""Seeds for tests with random actions: some of them in every run, all in a thorough run."""

from __future__ import annotations

from typing import Any

import pytest


def seeds(count: int, *, quick: int) -> list[Any]:
    """For `parametrize`: 0 to `count` - 1, of which the first `quick` are in every run."""
    return [*range(quick), *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(quick, count))]
