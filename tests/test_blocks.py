"""Every block of the library: entered in one task and left in another, and asked for where its client does not live."""

import asyncio

import anyio
import pytest

from recipes import (
    Barrier,
    ChildrenCache,
    CountDownLatch,
    Counter,
    DoubleBarrier,
    Election,
    Group,
    Lock,
    MultiLock,
    NodeCache,
    Queue,
    ReadWriteLock,
    ReentrantLock,
    Semaphore,
    SharedValue,
    TreeCache,
    connect,
)
from tests.lock.conftest import spawn

SECONDS = 60

BLOCKS = {
    "Lock": lambda client, path: Lock(client, path),
    "try_acquire": lambda client, path: Lock(client, path).try_acquire(),
    "read": lambda client, path: ReadWriteLock(client, path).read(),
    "write": lambda client, path: ReadWriteLock(client, path).write(),
    "Semaphore": lambda client, path: Semaphore(client, path, 2),
    "MultiLock": lambda client, path: MultiLock([Lock(client, path)]),
    "ReentrantLock": lambda client, path: ReentrantLock(client, path),
    "by": lambda client, path: ReentrantLock(client, path).by("me"),
    "lead": lambda client, path: Election(client, path).lead(),
    "try_lead": lambda client, path: Election(client, path).try_lead(),
    "join": lambda client, path: Group(client, path).join(),
    "DoubleBarrier": lambda client, path: DoubleBarrier(client, path, 1),
    "receive": lambda client, path: Queue(client, path).receive(),
    "try_receive": lambda client, path: Queue(client, path).try_receive(),
    "consume": lambda client, path: Queue(client, path).consume(prefetch=3),
    "NodeCache": NodeCache,
    "ChildrenCache": ChildrenCache,
    "TreeCache": TreeCache,
    "SharedValue": SharedValue,
    "watch": lambda client, path: client.watch(path),
    "multi": lambda client, path: client.multi(),
}

CALLS = {
    "wait at a gate": lambda client, path: Barrier(client, path).wait(),
    "count down": lambda client, path: CountDownLatch(client, path, 1).count_down(),
    "add": lambda client, path: Counter(client, path).add(1),
    "put": lambda client, path: Queue(client, path).put(b"x"),
    "acquire": lambda client, path: Lock(client, path).acquire(),
    "holders": lambda client, path: Lock(client, path).holders(),
    "leader": lambda client, path: Election(client, path).leader(),
    "run": lambda client, path: Election(client, path).run(lambda term: anyio.sleep_forever()),
    "get": lambda client, path: client.get(path),
}


# Blocks that hold nothing, so that nothing cancels them.
ENDLESS = ("consume", "NodeCache", "ChildrenCache", "TreeCache", "SharedValue", "watch", "multi")


async def places(client, path):
    """Ephemeral znodes at and below `path`."""
    return [each for each in await client.ephemerals() if each.startswith(path) and "/clients/" not in each]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", BLOCKS)
async def test_w4_p30_u6_a_block_may_be_left_by_another_task(our_server, root, kind):
    async with connect(our_server.hosts) as client:
        path = f"{root}/of"
        if "receive" in kind:
            await Queue(client, path).put(b"x")
        if kind == "consume":
            await Queue(client, path).put_many([b"x"] * 5)
        block, entered = BLOCKS[kind](client, path), anyio.Event()

        async def enter():
            await block.__aenter__()
            entered.set()

        task = spawn(enter)
        with anyio.fail_after(SECONDS):
            await entered.wait()
            await block.__aexit__(None, None, None)
            while await places(client, path):
                await anyio.sleep(0.01)
        assert client.session.scopes == {}
        await client.exists("/")  # this task was not cancelled
        assert task is not None


@pytest.mark.asyncio  # trio cancels scopes only, which tell a task again at each of its next awaits
@pytest.mark.parametrize("loss_first", [True, False])
@pytest.mark.parametrize("kind", [kind for kind in BLOCKS if kind not in ENDLESS])
async def test_a_task_that_is_cancelled_just_as_its_hold_is_lost_is_cancelled(our_server, root, kind, loss_first):
    """asyncio tells it once, and in one exception of both."""
    async with connect(our_server.hosts) as client:
        path = f"{root}/of"
        if "receive" in kind:
            await Queue(client, path).put(b"x")
        entered = anyio.Event()

        async def hold():
            async with BLOCKS[kind](client, path):
                entered.set()
                await anyio.sleep_forever()

        task = asyncio.create_task(hold())
        with anyio.fail_after(SECONDS):
            await entered.wait()
            if not loss_first:
                task.cancel()
            for scope in list(client.session.scopes.values()):
                scope.end("lost by the test")
            if loss_first:
                task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()


@pytest.mark.parametrize("kind", [*BLOCKS, *CALLS])
def test_w5_u4_in_another_event_loop_each_is_refused_at_once(our_server, root, kind):
    async def use(client):
        with anyio.fail_after(SECONDS):
            if kind in CALLS:
                await CALLS[kind](client, root)
            else:
                async with BLOCKS[kind](client, root) as block:
                    if kind == "multi":
                        block.create(f"{root}/a")

    with asyncio.Runner() as first:
        client = connect(our_server.hosts)
        first.run(client.__aenter__())
        try:
            with asyncio.Runner() as second, pytest.raises(RuntimeError, match="belongs to another event loop"):
                second.run(use(client))
            assert first.run(client.exists("/")) is not None
        finally:
            first.run(client.__aexit__(None, None, None))
