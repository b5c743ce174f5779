"""Locks, elections and kazoo's client against servers that run raft: the tests that zab and Apache pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import anyio
import pytest

from recipes.testing import Ensemble
from tests.conformance.test_kazoo import *  # noqa: F403
from tests.lock.test_family_on_servers import *  # noqa: F403
from tests.lock.test_lock_on_servers import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]  # the simulation shows the same of raft, sooner


class One(NamedTuple):
    """One server of an ensemble. The tests read through one client what another one has just written, without a sync:
    so all clients are at the same server, a follower."""

    hosts: str
    port: int


@pytest.fixture(scope="module")
def server() -> Iterator[One]:
    with Ensemble(3, protocol="raft") as ensemble:
        leader = anyio.run(ensemble.leader)
        host = ensemble.host(leader % 3 + 1)
        yield One(host, int(host.rpartition(":")[2]))


@pytest.fixture
def hosts(server: One) -> str:
    return server.hosts
