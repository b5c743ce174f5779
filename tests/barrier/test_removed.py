"""A double barrier, or a round of it, that an operator deletes while parties are in it."""

import json
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from recipes.barrier.double import DoubleBarrier
from recipes.core.client.connect import connect
from recipes.core.errors import BrokenBarrier, NoNode, NotEmpty

pytestmark = pytest.mark.anyio

SECONDS = 10


@asynccontextmanager
async def two_clients(hosts):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, connect(hosts) as other:
            yield client, other


async def delete_all(client, path, data=None):
    """In one request, as `deleteall` of ZooKeeper's command line does. data: of a barrier that is made instead."""
    while True:
        with suppress(NoNode, NotEmpty):  # what the round before has left is cleared away just now
            async with client.multi() as multi:
                for node in reversed(await below(client, path)):
                    multi.delete(node)
                if data is not None:
                    multi.create(path, data)
                    for node in (f"{path}/round-0000000001", f"{path}/round-0000000001/out"):
                        multi.create(node)
            return


async def below(client, path):
    """`path` and every path below it, each behind the one above it."""
    found = [path]
    for name in await client.children(path, latest=True):
        found += await below(client, f"{path}/{name}")
    return found


async def they_watch(client, path, count):
    """Return once parties that use this client watch so many znodes at or below `path`."""
    while True:
        watched = [each for table in client.session.watches.values() for each in table]
        if sum(each.startswith(path.encode()) for each in watched) >= count:
            return
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
            await they_watch(client, f"{root}/round-0000000002", 3)
            if what == "round":
                await delete_all(other, f"{root}/round-0000000002")
            else:
                data = json.dumps({"parties": 3, "on_death": on_death, "round": 1}).encode()
                await delete_all(other, root, data if what == "made again" else None)
    assert len(told) == 2 and all("was deleted by somebody else" in each for each in told)


@pytest.mark.parametrize("on_death", ["break", "shrink", "wait"])
@pytest.mark.parametrize("what", ["round", "barrier", "made again"])
@pytest.mark.parametrize("leaving", [True, False])
async def test_parties_inside_hear_that_somebody_deletes_the_barrier(hosts, root, on_death, what, leaving):
    """`broken` is set, and who waits to leave is told at once; who leaves later is told then."""
    told, inside, go = [], [], anyio.Event()

    async def be_inside(client, stays):
        barrier = DoubleBarrier(client, root, 2, on_death=on_death)
        try:
            async with barrier:
                pass
            async with barrier as entered:
                inside.append(entered)
                if stays:
                    await go.wait()
        except BrokenBarrier as error:
            told.append(str(error))

    async with two_clients(hosts) as (client, other), anyio.create_task_group() as tasks:
        tasks.start_soon(be_inside, client, True)
        tasks.start_soon(be_inside, client, not leaving)
        while len(inside) < 2:
            await anyio.sleep(0.01)
        # The znode that ends the round, and each other, or itself while it leaves.
        await they_watch(client, f"{root}/round-0000000002/", 3 if on_death != "wait" else 2 if leaving else 1)
        data = json.dumps({"parties": 2, "on_death": on_death, "round": 1}).encode()
        if what == "round":
            await delete_all(other, f"{root}/round-0000000002")
        else:
            await delete_all(other, root, data if what == "made again" else None)
        if leaving:
            while not told:
                await anyio.sleep(0.01)
        elif not leaving and on_death != "wait":
            await inside[0].broken.wait()
        go.set()
    assert len(told) == 2 and all("was deleted by somebody else" in each for each in told)


async def test_one_whose_place_is_deleted_while_it_leaves_asks_for_nothing_again_and_again(our_server, root):
    async with two_clients(our_server.hosts) as (client, other), anyio.create_task_group() as tasks:
        go, inside = anyio.Event(), []

        async def be_inside(stays):
            async with DoubleBarrier(client, root, 2, on_death="wait") as entered:
                inside.append(entered)
                if stays:
                    await go.wait()

        tasks.start_soon(be_inside, True)
        tasks.start_soon(be_inside, False)
        while len(inside) < 2:
            await anyio.sleep(0.01)
        await they_watch(client, f"{root}/round-0000000001/", 2)
        place = next(path for path in client.session.watches["data"] if b"-party-" in path).decode()
        await other.delete(place)
        await client.sync(root)
        asked = client.session.answered
        for _ in range(20):
            await client.sync(root)
        assert client.session.answered - asked < 25
        go.set()
