"""Operations of recipes that the matrices go through, beside those of locks and elections: see matrix.py.

Each is short, gives True, and works a second time, whatever interrupted the first.
"""

from contextlib import suppress

import anyio

from recipes import (
    AtomicValue,
    Barrier,
    ChildrenCache,
    CountDownLatch,
    Counter,
    DoubleBarrier,
    Group,
    IdGenerator,
    NodeCache,
    Queue,
    ReentrantLock,
    SharedValue,
    TreeCache,
)
from recipes.core.errors import BarrierFull, BrokenBarrier, ConnectionLoss
from tests.simulation.recipes.matrix import Scene


async def reenter(client):
    lock = ReentrantLock(client, "/m/reentrant")
    async with lock, lock as grant:
        await anyio.sleep(0.01)
        return grant.fence > 0


async def reenter_for_a_while(client):
    async with ReentrantLock(client, "/m/reentrant"):
        await anyio.sleep(0.06)


def meet(on_death):
    async def act(client):
        """Two rounds, since one that goes on to the next round has less to ask for."""
        barrier, numbers = DoubleBarrier(client, f"/m/{on_death}", 2, on_death=on_death), []
        while len(numbers) < 2:
            try:
                async with barrier as entered:
                    if not numbers:
                        await anyio.sleep(0.005)
                numbers.append(entered.number)
            except BarrierFull:  # with "shrink", the other one may be inside alone
                await anyio.sleep(0.005)
        return 0 < numbers[0] < numbers[1]

    async def come_again_and_again(client):
        while True:
            with suppress(BrokenBarrier, BarrierFull):
                async with DoubleBarrier(client, f"/m/{on_death}", 2, on_death=on_death):
                    await anyio.sleep(0.01)

    return act, come_again_and_again


async def close_and_open(client):
    barrier = Barrier(client, "/m/gate")
    await barrier.create()
    await barrier.remove()
    return await client.exists("/m/gate") is None


async def go_through(client):
    await Barrier(client, "/m/gate").wait()
    return True


async def close_for_a_while(client):
    barrier = Barrier(client, "/m/gate")
    await barrier.create()
    await anyio.sleep(0.06)
    await barrier.remove()


async def count_down(client):
    latch = CountDownLatch(client, "/m/latch", 2)
    await latch.count_down("one")
    await latch.count_down()
    await latch.wait()
    await latch.remove()
    return True


async def put_and_receive(client):
    queue = Queue(client, "/m/queue")
    await queue.put(b"x", key="k")
    async with queue.receive() as message:
        return message.data == b"x"


async def put_many_and_consume(client):
    queue = Queue(client, "/m/queue")
    await queue.put_many([b"x", b"x"])
    async with queue.consume(concurrency=2, prefetch=6) as messages:
        async for message in messages:
            async with message:
                await anyio.sleep(0.001)
            await messages.drain()
    return True


async def receive_what_comes(client):
    async with Queue(client, "/m/queue").receive() as message:
        return message.data == b"x"


async def put_now_and_then(client):
    queue = Queue(client, "/m/queue")
    while True:
        await anyio.sleep(0.05)
        with suppress(ConnectionLoss):
            await queue.put(b"x")


async def bury_and_dig_up(client):
    queue = Queue(client, "/m/queue", max_deliveries=1)
    await queue.put(b"x")
    with suppress(ValueError):
        async with queue.receive():
            raise ValueError("no good")
    async with queue.dead_letters.receive() as letter:
        return letter.data == b"x"


async def add(client):
    before, after = await Counter(client, "/m/counter").add(3)
    return after == before + 3


async def take_an_id(client):
    return await IdGenerator(client, "/m/ids", block=2).next() > 0


async def update(client):
    value = AtomicValue[int](client, "/m/value")
    await value.update(lambda number: (number or 0) + 1)
    return (await value.get()) > 0


async def share(client):
    async with SharedValue[int](client, "/m/shared") as shared:
        return shared.current


async def atomically(client):
    async def change(transaction):
        if await transaction.exists("/atomic"):
            transaction.set("/atomic", await transaction.get("/atomic") + b"x")
        else:
            transaction.create("/atomic", b"x")
        return True

    try:
        return await client.atomically(change)
    except ConnectionLoss as error:  # nobody knows whether it was applied, and that is what it says
        return error.maybe_applied


def follow(kind):
    async def act(client):
        async with kind(client, "/m") as cache:
            return cache.state == "current"

    return act


async def be_a_member(client):
    group = Group(client, "/m/group")
    async with group.join(b"here") as member:
        try:
            await member.update(b"still here")
        except ConnectionLoss as error:
            return error.maybe_applied
        return len(await group.members()) == 1


BEYOND_LOCKS = [
    Scene("reentrant, waiting", reenter, reenter_for_a_while),
    *(Scene(f"round, {on_death}", *meet(on_death)) for on_death in ("break", "shrink", "wait")),
    Scene("gate", close_and_open),
    Scene("gate, waiting", go_through, close_for_a_while),
    Scene("latch", count_down),
    Scene("put and receive", put_and_receive, keeps="/m/queue/clients/"),
    Scene("put many and consume", put_many_and_consume, keeps="/m/queue/clients/"),
    Scene("receive, waiting", receive_what_comes, put_now_and_then, keeps="/m/queue/clients/"),
    Scene("dead letter", bury_and_dig_up, keeps="/m/queue/clients/"),
    Scene("add", add, keeps="/m/counter/"),
    Scene("id", take_an_id, keeps="/m/ids/"),
    Scene("update", update, keeps="/m/value/"),
    Scene("shared value", share),
    Scene("atomically", atomically),
    *(Scene(kind.__name__, follow(kind)) for kind in (NodeCache, ChildrenCache, TreeCache)),
    Scene("member", be_a_member),
]
