"""AtomicValue and SharedValue on real servers."""

from contextlib import aclosing

import anyio
import pytest
from pydantic import BaseModel

from recipes import (
    AtomicValue,
    Changed,
    ClientClosed,
    ConnectionState,
    MalformedValue,
    SessionExpired,
    SharedValue,
    connect,
)
from tests.queue.conftest import SECONDS, sabotaged

pytestmark = pytest.mark.anyio


class Limits(BaseModel):
    jobs: int
    paused: bool = False


async def test_bytes(client, root):
    value = AtomicValue(client, f"{root}/a/b")
    with anyio.fail_after(SECONDS):
        assert await value.get() is None
        assert not await value.compare_and_set(b"x", b"y")
        assert await value.compare_and_set(None, b"y")
        assert await value.get() == b"y"
        assert await value.update(lambda data: data + b"!") == Changed(b"y", b"y!")
        await value.set(b"")
        assert await value.get() is None
        assert await value.compare_and_set(b"", b"z")
        await value.set(None)
        assert (await client.get(f"{root}/a/b"))[0] == b""


async def test_a_model(client, root):
    value = AtomicValue[Limits](client, root)
    with anyio.fail_after(SECONDS):
        assert await value.compare_and_set(None, Limits(jobs=1))
        await client.set(root, b'{"paused": false,  "jobs": 1}')  # the same value, written in another way
        assert await value.compare_and_set(Limits(jobs=1), Limits(jobs=2))

        def more(limits):
            limits.jobs += 1  # the very object that it was given
            return limits

        assert await value.update(more) == (Limits(jobs=2), Limits(jobs=3))
        assert await AtomicValue(client, root, model=Limits).get() == Limits(jobs=3)


async def test_data_of_another_type_are_named(client, root):
    await client.create(root, b'{"jobs": "many"}')
    value = AtomicValue[Limits](client, root)
    with anyio.fail_after(SECONDS):
        for call in (value.get(), value.compare_and_set(None, Limits(jobs=1)), value.update(lambda limits: limits)):
            with pytest.raises(MalformedValue, match=r"expected Limits as JSON, found .*many") as caught:
                await call
            assert caught.value.path == root
        async with SharedValue[Limits](client, root) as shared:
            with pytest.raises(MalformedValue):
                shared.value  # noqa: B018
        await value.set(Limits(jobs=1))
        assert await value.get() == Limits(jobs=1)


async def test_what_a_function_raises_changes_nothing(client, root):
    value = AtomicValue(client, root)
    with anyio.fail_after(SECONDS):
        await value.set(b"1")
        with pytest.raises(ZeroDivisionError):
            await value.update(lambda data: 1 // 0)
        with pytest.raises(TypeError, match="expected bytes, not int"):
            await value.update(lambda data: 1)

        async def waits(data):
            return data

        with pytest.raises(TypeError, match="expected a plain function"):
            await value.update(waits)
        assert await value.get() == b"1"


async def test_eight_tasks_of_two_clients_lose_no_update(our_server, root):
    async def append(value, letter):
        for _ in range(5):
            await value.update(lambda letters: (letters or b"") + letter)

    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts) as one, connect(our_server.hosts) as other:
            async with anyio.create_task_group() as tasks:
                for letter in b"abcdefgh":
                    tasks.start_soon(append, AtomicValue((one, other)[letter % 2], root), bytes([letter]))
            await one.sync(root)
            letters = await AtomicValue(one, root).get()
    assert sorted(letters) == sorted(b"abcdefgh" * 5)


async def test_a_comparison_that_fails_was_current(hosts, root):
    """What this client has cached is what somebody else has replaced since."""
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as other:
            value = AtomicValue(one, root)
            await value.set(b"old")
            assert await AtomicValue(other, root).update(lambda data: b"new") == (b"old", b"new")
            assert await value.compare_and_set(b"new", b"newer")


async def change_some(value):
    await value.set(b"1")
    assert await value.compare_and_set(b"1", b"2")
    assert not await value.compare_and_set(b"1", b"3")
    assert await value.update(lambda data: data + b"3") == (b"2", b"23")


async def test_each_lost_reply_in_turn_changes_once(our_server, root):
    number = 0
    while True:
        number += 1
        with anyio.fail_after(SECONDS):
            async with sabotaged(our_server.hosts) as (client, saboteur):
                saboteur.lose_reply = number
                await change_some(AtomicValue(client, f"{root}/{number}"))
                if not saboteur.lost:
                    break
    assert number > 7


async def test_a_shared_value_follows(client, hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other, SharedValue(client, root) as shared:
            assert (shared.value, shared.version, shared.current) == (None, None, True)
            writer = AtomicValue(other, root)
            seen = []
            async for value in shared:
                seen.append(value)
                if value == b"2":
                    break
                await writer.set(b"1" if value is None else b"2")
            assert [value for value in seen if value][-1] == b"2"
            assert shared.value == b"2" and "ValueVersion" in repr(shared)
            before = shared.version
            await other.set(root, b"2")
            async for _ in shared:
                if shared.version != before:
                    break
            assert shared.version.czxid == before.czxid and shared.version.mzxid > before.mzxid


async def test_of_quick_changes_a_reader_sees_the_last(client, root):
    with anyio.fail_after(SECONDS):
        async with SharedValue(client, root) as shared:
            changes = aiter(shared)
            assert await anext(changes) is None
            for number in range(20):
                await AtomicValue(client, root).set(b"%d" % number)
            seen = []
            while seen[-1:] != [b"19"]:
                seen.append(await anext(changes))
            assert len(seen) < 20


async def test_a_znode_made_anew_is_a_change_although_its_version_is_the_same(client, root):
    with anyio.fail_after(SECONDS):
        await client.create(root, b"same")
        async with SharedValue(client, root) as shared:
            changes = aiter(shared)
            assert await anext(changes) == b"same"
            before = shared.version
            async with client.multi() as multi:
                multi.delete(root)
                multi.create(root, b"same")
            assert await anext(changes) == b"same"
            assert shared.version.czxid > before.czxid


# Each starts a server of its own, and what it shows is the same on both.
@pytest.mark.parametrize("anyio_backend", ["asyncio", pytest.param("trio", marks=pytest.mark.thorough)])
async def test_it_says_when_it_is_not_current(start_server, root):
    server = start_server("ours", maxSessionTimeout=60_000)  # longer than it takes to start again
    with anyio.fail_after(SECONDS):
        async with connect(server.hosts, session_timeout=60.0) as client, SharedValue(client, root) as shared:
            assert shared.current
            server.kill9()
            await reach(client, ConnectionState.SUSPENDED)
            assert not shared.current
            assert shared.value is None
            await anyio.to_thread.run_sync(server.restart)
            await reach(client, ConnectionState.CONNECTED)
            await AtomicValue(client, root).set(b"new")
            async for value in shared:
                if value == b"new":
                    break
            assert shared.current
    server.kill9()


async def reach(client, state):
    async with aclosing(client.states()) as states:
        async for found in states:
            if found is state:
                break


async def test_iterating_ends_with_the_session(our_server, root):
    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts) as client:
            async with SharedValue(client, root) as shared:
                changes = aiter(shared)
                assert await anext(changes) is None
                client.session.end(SessionExpired)
                assert not shared.current
                with pytest.raises(SessionExpired):
                    await anext(changes)
        with pytest.raises(ClientClosed):
            async with SharedValue(client, root):
                pass


async def test_outside_of_its_block_it_says_how(client, root):
    shared = SharedValue(client, root)
    with pytest.raises(RuntimeError, match="async with"):
        shared.value  # noqa: B018
    async with shared:
        pass
    with pytest.raises(RuntimeError, match="make another"):
        async with shared:
            pass


async def test_iterating_ends_with_the_block(client, root):
    """Also in a task that waits for the next change."""
    ended = anyio.Event()
    first = anyio.Event()

    async def follow(shared):
        async for _ in shared:
            first.set()
        ended.set()

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            async with SharedValue(client, root) as shared:
                tasks.start_soon(follow, shared)
                await first.wait()
            await ended.wait()
