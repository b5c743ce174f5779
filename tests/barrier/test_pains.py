"""What users of other barriers reported: each test is named after entries of tests/reported.md."""

import anyio
import anyio.lowlevel
import pytest

from recipes import ACL, DoubleBarrier, Id, NoAuth, Perms, SessionExpired, connect
from recipes.testing.expire import expire_session
from tests.cable import cabled

pytestmark = pytest.mark.anyio

SECONDS = 60


async def test_s10_who_could_not_enter_is_told_and_its_block_does_not_begin(hosts, root):
    told = []

    async def enter(client, path, parties):
        try:
            async with DoubleBarrier(client, path, parties):
                pytest.fail("inside")
        except (NoAuth, SessionExpired) as error:
            told.append(type(error))

    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other, connect(hosts) as client:
            await other.create(root, acl=[ACL(Perms.READ, Id("world", "anyone"))])
            await enter(client, f"{root}/closed", 1)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(enter, client, f"{root}-open", 2)
                while (stat := await other.exists(f"{root}-open/round-0000000001")) is None or not stat.num_children:
                    await anyio.sleep(0.01)
                await expire_session(client, hosts)
    assert told == [NoAuth, SessionExpired]


async def test_u25_what_a_round_costs_each_party_does_not_grow_with_their_number(our_server, root):
    """No party but one reads the list of all, and nobody reads it again and again."""
    costs = []

    async def take_part(client, name, parties):
        async with DoubleBarrier(client, f"{root}-{parties}", parties, name=name):
            pass

    with anyio.fail_after(SECONDS):
        for parties in (5, 60):
            asked = 0
            async with connect(our_server.hosts) as one, connect(our_server.hosts) as two:
                for client in (one, two):

                    def count(call, submit=client._namespace.submit):
                        nonlocal asked
                        asked += 1
                        return submit(call)

                    client._submit = client._namespace.submit = count
                async with anyio.create_task_group() as tasks:
                    for number in range(parties):
                        tasks.start_soon(take_part, (one, two)[number % 2], f"p{number}", parties)
            costs.append(asked / parties)
    assert costs[1] < costs[0] * 1.2 < 24


async def test_u26_who_leaves_while_its_connection_breaks_has_left(hosts, root):
    """Nobody has to know what to do about it: the leaving goes on when there is a connection."""
    ended = []

    async def take_part(client, go):
        async with DoubleBarrier(client, root, 2) as entered:
            await go.wait()
        ended.append(entered.broken.is_set())

    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other, cabled(hosts) as (client, cable), anyio.create_task_group() as tasks:
            go, later = anyio.Event(), anyio.Event()
            tasks.start_soon(take_part, client, go)
            tasks.start_soon(take_part, other, later)
            await both_are_inside(other, root)
            go.set()
            await anyio.lowlevel.checkpoint()
            await cable.pull()
            later.set()
            await cable.plug()
    assert ended == [False, False]


async def both_are_inside(client, root):
    while True:
        await client.sync(root)
        if (stat := await client.exists(f"{root}/round-0000000001")) is not None and stat.version:
            return
        await anyio.sleep(0.01)
