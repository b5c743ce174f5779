"""Each single reply of each operation is lost in turn; each is cancelled at each of its requests and replies."""

import anyio
import pytest

from recipes import Queue, connect
from tests.queue.conftest import SECONDS, sabotaged, until

pytestmark = pytest.mark.anyio


class Mine(Exception):
    pass


async def put_and_acknowledge(queue):
    assert await queue.put(b"a", key="a")
    await queue.put_many([b"b", b"c"])
    assert not await queue.put(b"d", key="a")
    for expected in (b"a", b"b", b"c"):
        async with queue.receive() as message:
            assert (message.data, message.attempt) == (expected, 1)
            assert message.fence == (await queue._client.exists(message.path)).czxid


async def fail_and_bury(queue):
    await queue.put(b"a")
    for attempt in (1, 2):
        with pytest.raises(Mine):
            async with queue.receive() as message:
                assert message.attempt == attempt
                raise Mine
    assert await queue.dead_letters.reasons() == [(b"a", "Mine: ", 2)]
    assert await queue.dead_letters.redrive() == 1
    async with queue.receive() as message:
        assert (message.data, message.attempt) == (b"a", 1)
        await message.release()
    assert await queue.take() == b"a"


async def consume_all(queue):
    await queue.put_many([b"%d" % number for number in range(6)])
    seen = []
    async with queue.consume(concurrency=2, prefetch=2) as messages:
        async for message in messages:
            async with message:
                assert message.attempt == 1
                seen.append(message.data)
            if len(seen) == 6:
                break
    assert seen == [b"%d" % number for number in range(6)]


async def fill_and_purge(queue):
    bounded = Queue(queue._client, f"{queue._path}/bounded", capacity=2)
    await bounded.put(b"a")
    await bounded.put(b"b")
    assert await bounded.purge() == 2
    await bounded.put_many([b"c", b"d"], within=0)
    assert await bounded.take() == b"c"
    assert await bounded.take() == b"d"


SCENARIOS = [put_and_acknowledge, fail_and_bury, consume_all, fill_and_purge]


async def left_over(client, path):
    """What there is beside empty folders and the client's own znodes."""
    found = []
    for folder in ("items", "keys", "dead/items", "bounded/items"):
        if await client.exists(f"{path}/{folder}") is None:
            continue
        for name in await client.children(f"{path}/{folder}"):
            found += await client.children(f"{path}/{folder}/{name}")
    return found


LONG = {fail_and_bury, fill_and_purge}  # a hundred requests each; the simulation has the same matrix


def with_marks(function):
    return pytest.param(function, id=function.__name__, marks=[pytest.mark.thorough] if function in LONG else [])


@pytest.mark.parametrize("scenario", [with_marks(each) for each in SCENARIOS])
async def test_s12_each_lost_reply_in_turn_neither_loses_nor_doubles(our_server, root, scenario, anyio_backend):
    """The connection breaks when the reply comes, so that its request has been carried out."""
    hosts = our_server.hosts
    step = 1 if anyio_backend == "asyncio" else 4
    number, lost = 1, 0
    while True:
        path = f"{root}/{number}"
        with anyio.fail_after(SECONDS):
            async with sabotaged(hosts) as (client, saboteur):
                await client.ensure_path(path)
                saboteur.replies = 0
                saboteur.lose_reply = number
                await scenario(Queue(client, path, max_deliveries=2, retry_delay=0))
                assert await left_over(client, path) == []
        if not saboteur.lost:
            break
        lost += 1
        number += step
    assert lost > 10 / step


async def ack_one(queue):
    async with queue.receive() as message:
        await queue._client.exists(message.path)


async def fail_one(queue):
    try:
        async with queue.receive():
            raise Mine
    except Mine:
        pass


async def release_one(queue):
    async with queue.receive() as message:
        await message.release()


async def consume_some(queue):
    async with queue.consume(concurrency=2, prefetch=2) as messages:
        async for message in messages:
            async with message:
                await queue._client.exists(message.path)


OPERATIONS = [ack_one, fail_one, release_one, consume_some]
LONG.add(consume_some)


@pytest.mark.parametrize("operation", [with_marks(each) for each in OPERATIONS])
async def test_cancelled_at_each_request_it_leaves_no_claim(our_server, root, operation, anyio_backend):
    """Every item is done, or waits as if nobody had ever touched it, unless its own block failed."""
    hosts = our_server.hosts
    step = 1 if anyio_backend == "asyncio" else 3
    number, cancelled = 1, 0
    async with connect(hosts) as witness:
        while True:
            path = f"{root}/{number}"
            queue = Queue(witness, path)
            with anyio.fail_after(SECONDS):
                await queue.put_many([b"a", b"b", b"c", b"d"])
                async with sabotaged(hosts) as (client, saboteur):
                    with anyio.CancelScope() as scope:
                        saboteur.requests = 0
                        saboteur.at_request[number] = scope.cancel
                        saboteur.at_request[40] = scope.cancel
                        await operation(Queue(client, path, retry_delay=0))

                    async def nothing_is_claimed(queue=queue):
                        return (await queue.counts())[2] == 0

                    # Without the end of the session, which would free everything.
                    await until(nothing_is_claimed)
                    rest = {}
                    while len(rest) < await queue.size():
                        async with queue.receive() as message:
                            rest[message.data] = message.attempt
                    # In a block that failed, or that ended well and was acknowledged, the delivery counts.
                    assert sum(attempt - 1 for attempt in rest.values()) <= (operation is fail_one)
            if saboteur.requests < number or number >= 40:
                break
            cancelled += 1
            number += step
    assert cancelled > 6 / step


async def test_a_cancelled_put_that_was_not_sent_adds_nothing(our_server, root):
    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts) as client:
            queue = Queue(client, root)
            assert await queue.size() == 0
            with anyio.CancelScope() as scope:
                scope.cancel()
                await queue.put(b"x")
            assert await queue.size() == 0


async def test_puts_of_many_tasks_survive_broken_connections(our_server, root):
    """Many writes share a multi; each is made once, and in the order of each task."""
    with anyio.fail_after(SECONDS):
        async with sabotaged(our_server.hosts) as (client, saboteur):
            queue = Queue(client, root)
            await queue.size()

            async def produce(name):
                for number in range(20):
                    if number % 5 == 4:
                        saboteur.lose_reply = saboteur.replies + 2
                    await queue.put(b"%d-%d" % (name, number))

            async with anyio.create_task_group() as tasks:
                for name in range(5):
                    tasks.start_soon(produce, name)
            assert saboteur.lost
            saboteur.lose_reply = 0
            found = await queue.peek(1_000)
            assert len(found) == len(set(found)) == 100
            for name in range(5):
                assert [data for data in found if data.startswith(b"%d-" % name)] == [
                    b"%d-%d" % (name, number) for number in range(20)
                ]
