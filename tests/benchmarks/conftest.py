"""Comparisons that start nothing."""

import pytest

from benchmarks import comparison as module


@pytest.fixture
def no_generator(monkeypatch):
    """What is built with gcc is not built, for tests that put no load on anything."""
    monkeypatch.setattr(module, "LoadGenerator", lambda directory: None)
