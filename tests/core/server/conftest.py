"""Ports for the servers of an ensemble."""

import pytest

from tests.ports import free_port


@pytest.fixture
def addresses() -> dict[int, tuple[str, int]]:
    """Host and a free port for servers 1 to 3."""
    return {sid: ("127.0.0.1", free_port()) for sid in (1, 2, 3)}
