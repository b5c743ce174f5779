"""Clients that count their requests, with faults at the requests that a test chooses."""

from contextlib import asynccontextmanager

import anyio
import pytest

from recipes.core.client.connect import connect
from recipes.core.errors import WireError

SECONDS = 60
# For tests that take long: a quick run has them on our server only.
each_server_thoroughly = pytest.mark.parametrize(
    "server", ["ours", pytest.param("apache", marks=[pytest.mark.apache, pytest.mark.thorough])], indirect=True
)


class Saboteur:
    """Counts the requests of a client, and makes one of them fail."""

    def __init__(self, client):
        self.client = client
        self.requests = 0
        self.replies = 0
        self.lose_reply = 0  # the number of the reply that is lost, with the connection
        self.at_request = {}  # number of submitted requests -> function to call then
        self._submit = client._submit
        client._submit = client._namespace.submit = self.submit
        session = client.session
        self._receive, session.receive = session.receive, self.receive
        self.lost = False

    def submit(self, call):
        self.requests += 1
        if act := self.at_request.get(self.requests):
            act()
        return self._submit(call)

    def receive(self, payload):
        xid = int.from_bytes(payload[:4], "big", signed=True)
        if xid > 0:
            self.replies += 1
            if self.replies == self.lose_reply:
                self.lost = True
                raise WireError("lost by the test")
        self._receive(payload)


@asynccontextmanager
async def sabotaged(hosts, **options):
    async with connect(hosts, **options) as client:
        yield client, Saboteur(client)


async def until(condition):
    """Poll until `condition()` is true, for a minute at most."""
    with anyio.fail_after(60):
        while not await condition():
            await anyio.sleep(0.01)


@pytest.fixture
async def client(hosts):
    async with connect(hosts) as client:
        yield client
