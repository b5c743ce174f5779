"""A client for each test, and clients whose replies are lost."""

import pytest

from recipes import connect


@pytest.fixture
async def client(hosts):
    async with connect(hosts) as client:
        yield client
