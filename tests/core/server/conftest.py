"""Ports for the servers of an ensemble."""

import socket

import pytest


@pytest.fixture
def addresses() -> dict[int, tuple[str, int]]:
    """Host and a free port for servers 1 to 3."""
    probes = [socket.socket() for _ in range(3)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = {sid: ("127.0.0.1", probe.getsockname()[1]) for sid, probe in enumerate(probes, 1)}
    for probe in probes:
        probe.close()
    return found
