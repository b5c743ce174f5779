"""IdGenerator on real servers."""

import os
from collections import Counter

import anyio
import pytest

from recipes import BadArguments, IdGenerator, MalformedValue, SessionExpired, connect
from recipes.counter.ids import LARGEST_ID
from tests.queue.conftest import SECONDS, sabotaged

pytestmark = pytest.mark.anyio


async def test_ids_of_two_generators_differ(client, hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other:
            one, two = IdGenerator(client, root, block=3), IdGenerator(other, root, block=3)
            found = [await each.next() for _ in range(4) for each in (one, two)]
        assert sorted(found) == [1, 2, 3, 4, 5, 6, 7, 10]
        assert (await client.get(root))[0] == b"13"


async def test_a_block_is_one_write(our_server, root):
    with anyio.fail_after(SECONDS):
        async with sabotaged(our_server.hosts) as (client, saboteur):
            ids = IdGenerator(client, root, block=10)
            assert await ids.next() == 1
            requests = saboteur.requests
            found = [1]
            async for each in ids:
                found.append(each)
                if each == 30:
                    break
            assert found == list(range(1, 31))
            assert saboteur.requests == requests + 2


async def test_tasks_that_are_cancelled_at_random_never_repeat_an_id(our_server, root):
    found = Counter()

    async def take(ids, number):
        with anyio.move_on_after(0.001 * (number % 5) or None):
            for _ in range(5):
                found[await ids.next()] += 1

    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts) as client:
            ids = IdGenerator(client, root, block=2)
            async with anyio.create_task_group() as tasks:
                for number in range(40):
                    tasks.start_soon(take, ids, number)
    assert len(found) >= 40 and set(found.values()) == {1}


async def test_cancelled_at_each_request_and_with_each_reply_lost_no_id_repeats(our_server, root):
    found, number = Counter(), 0
    with anyio.fail_after(SECONDS):
        while True:
            number += 1
            async with sabotaged(our_server.hosts) as (client, saboteur):
                ids = IdGenerator(client, root, block=1)
                saboteur.lose_reply = number
                with anyio.CancelScope() as scope:
                    saboteur.at_request[number + 1] = scope.cancel
                    for _ in range(3):
                        found[await ids.next()] += 1
                found[await ids.next()] += 1
                if not (saboteur.lost or scope.cancelled_caught):
                    break
    assert number > 4
    assert set(found.values()) == {1}


async def test_u33_ids_of_a_lost_session_are_given_to_nobody_else(our_server, root):
    """A process that goes on although its session is over has what it reserved for itself, still."""
    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts) as lost, connect(our_server.hosts) as other:
            ids = IdGenerator(lost, root, block=2)
            assert await ids.next() == 1
            lost.session.end(SessionExpired)
            assert await IdGenerator(other, root, block=2).next() == 3
            assert await ids.next() == 2
            with pytest.raises(SessionExpired):
                await ids.next()


async def test_a_counter_that_went_back_is_an_error(client, root):
    ids = IdGenerator(client, root, block=2)
    with anyio.fail_after(SECONDS):
        assert [await ids.next(), await ids.next()] == [1, 2]
        await client.set(root, b"2")
        with pytest.raises(MalformedValue, match="stands at 2, and ids below 3"):
            await ids.next()
        await client.set(root, b"-5")
        with pytest.raises(MalformedValue, match="stands at -5"):
            await IdGenerator(client, root).next()
        assert (await client.get(root))[0] == b"-5"


async def test_the_last_ids(client, root):
    await client.create(root, b"%d" % (LARGEST_ID - 1))
    ids = IdGenerator(client, root, block=10)
    with anyio.fail_after(SECONDS):
        assert [await ids.next(), await ids.next()] == [LARGEST_ID - 1, LARGEST_ID]
        with pytest.raises(OverflowError, match=root):
            await ids.next()


@pytest.mark.parametrize("block", [0, -1, 1.5, True, "10", 1 << 41])
async def test_a_block_that_is_none_is_refused(client, root, block):
    with pytest.raises(BadArguments, match="block="):
        IdGenerator(client, root, block=block)


async def test_another_thread_gets_none(client, root):
    ids = IdGenerator(client, root)

    def next_there():
        with pytest.raises(RuntimeError, match="another thread"):
            anyio.run(ids.next)

    with anyio.fail_after(SECONDS):
        await ids.next()
        await anyio.to_thread.run_sync(next_there)


@pytest.mark.needs("true")
async def test_a_forked_child_gets_none(client, root):
    """It has a copy of the block."""
    ids = IdGenerator(client, root)
    with anyio.fail_after(SECONDS):
        await ids.next()
    child = os.fork()
    if child == 0:
        try:
            ids.next().send(None)
        except RuntimeError as error:
            os._exit(7 if "forked" in str(error) else 1)
        except BaseException:
            os._exit(2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
