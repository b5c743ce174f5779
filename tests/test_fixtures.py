"""A client opened in a pytest-asyncio fixture closes in another task than opened it, and leaves nothing behind."""

import asyncio

import pytest
import pytest_asyncio

from recipes import Lock, connect


@pytest_asyncio.fixture
async def client():
    before = asyncio.all_tasks()
    async with connect(private=True) as client:
        yield client
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}


@pytest.mark.asyncio
async def test_p30_u44_a_client_from_a_fixture_takes_a_lock(client):
    async with Lock(client, "/locks/fixture") as grant:
        assert grant.fence > 0


@pytest.fixture
async def anyio_client(anyio_backend):
    async with connect(private=True) as client:
        yield client


@pytest.mark.anyio
async def test_p30_u44_the_same_under_anyios_plugin(anyio_client):
    async with Lock(anyio_client, "/locks/fixture") as grant:
        assert grant.fence > 0
