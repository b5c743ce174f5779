"""A double barrier, or a round of it, that an operator deletes while parties are in it."""

import json
from contextlib import asynccontextmanager

import anyio
import pytest

from recipes.barrier.double import DoubleBarrier
from recipes.core.client.connect import connect
from recipes.core.errors import BrokenBarrier

pytestmark = pytest.mark.anyio

SECONDS = 20


@asynccontextmanager
async def two_clients(hosts):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, connect(hosts) as other:
            yield client, other


async def delete_all(client, path, data=None):
    """In one request, as `deleteall` of ZooKeeper's command line does. data: of a barrier that is made instead."""
    async with client.multi() as multi:
        for node in reversed(await below(client, path)):
            multi.delete(node)
        if data is not None:
            multi.create(path, data)
            for node in (f"{path}/round-0000000001", f"{path}/round-0000000001/out"):
                multi.create(node)


async def below(client, path):
    """`path` and every path below it, each behind the one above it."""
    found = [path]
    for name in await client.children(path, latest=True):
        found += await below(client, f"{path}/{name}")
    return found


async def they_watch(client, path, count):
    """Return once parties that use this client watch so many znodes at or below `path`."""
    while (
        sum(watched.startswith(path.encode()) for table in client.session.watches.values() for watched in table) < count
    ):
        await anyio.sleep(0.01)


async def take_part(barrier, told, rounds=2):
    try:
        for _ in range(rounds):
            async with barrier:
                pass
    except BrokenBarrier as error:
        told.append(str(error))


@pytest.mark.parametrize("on_death", ["break", "shrink", "wait"])
@pytest.mark.parametrize("what", ["round", "barrier", "made again"])
async def test_parties_that_wait_for_others_hear_that_somebody_deletes_the_barrier(hosts, root, on_death, what):
    told = []
    async with two_clients(hosts) as (client, other):
        barrier = DoubleBarrier(client, root, 3, on_death=on_death)
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(take_part, barrier, told)
            tasks.start_soon(take_part, DoubleBarrier(client, root, 3, on_death=on_death), told, 1)
            await they_watch(client, f"{root}/round-0000000002", 2)
            if what == "round":
                await delete_all(other, f"{root}/round-0000000002")
            else:
                data = json.dumps({"parties": 3, "on_death": on_death, "round": 1}).encode()
                await delete_all(other, root, data if what == "made again" else None)
    assert len(told) == 2 and all("was deleted by somebody else" in each for each in told)
