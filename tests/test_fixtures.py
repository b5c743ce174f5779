"""A client, a lock and a term opened in a fixture close in another task than opened them, and leave nothing behind."""

import asyncio

import pytest
import pytest_asyncio

from recipes import Election, Lock, LockLost, connect


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


@pytest_asyncio.fixture
async def holds(client):
    async with Lock(client, "/locks/fixture") as grant, Election(client, "/election").lead() as term:
        yield grant, term
    assert (grant.why, term.why) == ("released", "released")
    assert await client.children("/locks/fixture") == await client.children("/election") == []


@pytest.mark.asyncio
async def test_newcomer_10_u44_a_lock_and_a_term_from_fixtures_are_held_and_given_up(client, holds):
    grant, term = holds
    assert not grant.ended.is_set() and not term.ended.is_set()
    async with Lock(client, "/locks/fixture").try_acquire() as second:
        assert second is None


@pytest.fixture
async def anyio_holds(anyio_client):
    async with Lock(anyio_client, "/locks/fixture") as grant, Election(anyio_client, "/election").lead() as term:
        yield grant, term
    assert (grant.why, term.why) == ("released", "released")
    assert await anyio_client.children("/locks/fixture") == await anyio_client.children("/election") == []


@pytest.mark.anyio
async def test_newcomer_10_u44_the_same_under_anyios_plugin(anyio_client, anyio_holds):
    assert not any(hold.ended.is_set() for hold in anyio_holds)


@pytest_asyncio.fixture
async def lost(client):
    """A lock that is lost while the test runs: said where it is left, in words."""
    with pytest.raises(LockLost, match="deleted by somebody else"):
        async with Lock(client, "/locks/lost") as grant:
            yield grant


@pytest.mark.asyncio
async def test_newcomer_10_a_lock_of_a_fixture_that_is_lost_says_so(client, lost):
    await client.delete(lost.path)
    await lost.ended.wait()
    assert lost.lost


@pytest.mark.asyncio
async def test_newcomer_10_a_notebook_takes_and_releases_in_different_cells(client):
    lock, grants = Lock(client, "/locks/notebook"), []

    async def first_cell():
        grants.append(await lock.acquire())

    async def second_cell():
        await grants[0].release()

    for cell in (first_cell, second_cell):
        await asyncio.create_task(cell())
    assert grants[0].why == "released"
    assert await client.children("/locks/notebook") == []
