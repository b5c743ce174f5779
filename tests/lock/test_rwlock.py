from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import pytest

from recipes.core.errors import LockLost
from recipes.lock import Lock, ReadWriteLock
from tests.lock.turns import cancel_at_each_turn, until
from tests.lock.visitors import PATH, visit

pytestmark = pytest.mark.anyio


async def test_readers_share_and_a_writer_is_alone(store):
    async def scene(all):
        for name in ("r1", "r2", "w1"):
            await all.come(name)
        assert sorted(all.inside) == ["r1", "r2"]
        await all.leave("r2")
        assert sorted(all.inside) == ["r1"]
        await all.leave("r1")
        assert sorted(all.inside) == ["w1"]
        await all.come("r3")
        assert sorted(all.inside) == ["w1"]

    await visit(store, scene)


async def test_a_writer_is_not_starved_by_readers_that_come_behind_it(store):
    async def scene(all):
        for name in ("r1", "w1", "r2", "r3", "w2", "r4"):
            await all.come(name)
        assert sorted(all.inside) == ["r1"]
        await all.leave("r1")
        assert sorted(all.inside) == ["w1"]
        await all.leave("w1")
        assert sorted(all.inside) == ["r2", "r3"]
        await all.leave("r2", "r3")
        assert sorted(all.inside) == ["w2"]
        await all.leave("w2")
        assert sorted(all.inside) == ["r4"]

    await visit(store, scene)


async def test_u10_a_reader_never_waits_for_a_writer_behind_it(store):
    """kazoo's read lock took every writer in the line for one in front."""

    async def scene(all):
        await all.come("w1")
        await all.come("r1")
        await all.come("w2")
        await all.leave("w1")
        assert sorted(all.inside) == ["r1"]
        await all.leave("r1")
        assert sorted(all.inside) == ["w2"]

    await visit(store, scene)


async def test_each_waiter_watches_one_znode_and_each_end_wakes_only_who_may_go_on(store):
    async def scene(all):
        for name in ("r1", "r2", "w1", "r3", "r4", "w2"):
            await all.come(name)
        fronts = [watch.path.split("/")[-1].split("-")[1:] for watch in store.watches if not hasattr(watch, "gone")]
        kinds = sorted((kind, int(number)) for kind, number in fronts)
        # w1 behind r2, r3 and r4 behind w1, w2 behind r4.
        assert kinds == [("read", 1), ("read", 4), ("write", 2), ("write", 2)]
        store.requests.clear()
        await all.leave("r1")
        assert [name for name, _ in store.requests] == ["delete"]  # nobody is woken: it was not the last in front
        store.requests.clear()
        await all.leave("r2")
        assert [name for name, _ in store.requests] == ["delete", "children"]
        store.requests.clear()
        await all.leave("w1")
        assert [name for name, _ in store.requests] == ["delete", "children", "children"]

    await visit(store, scene)


async def test_a_lock_at_the_same_path_is_a_writer(store):
    async def scene(all):
        await all.come("r1")
        await all.come("lock", Lock(store.client(), PATH))
        await all.come("r2")
        assert sorted(all.inside) == ["r1"]
        await all.leave("r1")
        assert sorted(all.inside) == ["lock"]
        await all.leave("lock")
        assert sorted(all.inside) == ["r2"]

    await visit(store, scene)


async def test_uncontended_either_side_is_two_requests(store):
    rw = ReadWriteLock(store.client(), PATH)
    for side in (rw.read(), rw.write(), rw.read(), rw.write()):
        async with AsyncExitStack() as stack:
            store.requests.clear()
            await stack.enter_async_context(side)
            requests = [name for name, _ in store.requests]
    assert requests == ["create2", "children", "watch_deletion"]


async def test_tries_give_none_and_leave_nothing(store):
    one, two = (ReadWriteLock(store.client(), PATH) for _ in range(2))
    async with one.read():
        async with two.try_write() as grant:
            assert grant is None
        async with two.try_write(within=0.01) as grant:
            assert grant is None
        async with two.try_read(within=0) as grant:
            assert grant is not None
        assert len(store.names(PATH)) == 1
    async with one.write():
        async with two.try_read() as grant:
            assert grant is None
        async with two.try_read(within=0.01) as grant:
            assert grant is None
        assert len(store.names(PATH)) == 1
    assert store.watches == []


async def test_acquire_for_more_than_a_block(store):
    one, two = (ReadWriteLock(store.client(), PATH) for _ in range(2))
    first = await one.acquire_read()
    second = await two.acquire_read()
    await first.release()
    await second.release()
    third = await one.acquire_write()
    assert third.fence > second.fence > first.fence
    await third.release()
    assert store.names(PATH) == []


async def test_holders_and_waiters_say_of_which_kind(store):
    rw = ReadWriteLock(store.client(), PATH, b"me")
    assert await rw.holders() == []

    async def scene(all):
        for name in ("r1", "r2", "w1", "r3"):
            await all.come(name)
        assert [each.kind for each in await rw.holders()] == ["read", "read"]
        assert [each.kind for each in await rw.waiters()] == ["write", "read"]
        assert [each.kind for each in await Lock(store.client(), PATH).holders()] == ["read", "read"]

    await visit(store, scene)


@pytest.mark.parametrize(
    ("first", "then"), [("read", "write"), ("write", "write"), ("read", "read"), ("write", "read")]
)
async def test_a_task_inside_cannot_ask_again_and_is_told_why(store, first, then):
    rw = ReadWriteLock(store.client(), PATH)
    async with getattr(rw, first)():
        with pytest.raises(RuntimeError, match=r"upgrades|downgrade"):
            async with getattr(rw, then)():
                pass
        assert len(store.names(PATH)) == 1
    assert store.names(PATH) == []


# Faults, as for Lock.


@pytest.mark.parametrize("side", ["read", "write"])
@pytest.mark.parametrize("lose_request", [False, True])
@pytest.mark.parametrize("number", range(1, 9))
async def test_any_lost_reply_leaves_one_holder_and_then_nothing(store, side, number, lose_request):
    store.lose_reply, store.lose_request = number, lose_request
    async with getattr(ReadWriteLock(store.client(), PATH), side)() as grant:
        assert [f"{PATH}/{name}" for name in store.names(PATH)] == [grant.path]
    assert store.names(PATH) == []
    assert store.watches == []


@pytest.mark.parametrize("side", ["read", "write"])
@pytest.mark.parametrize("contended", [False, True])
async def test_cancelled_at_each_await_nothing_stays_behind(store, side, contended):
    holder = ReadWriteLock(store.client(), PATH)
    async with holder.write():
        pass

    def take():
        return getattr(ReadWriteLock(store.client(), PATH), side)()

    finished = await cancel_at_each_turn(store, PATH, take, holder.write if contended else None, 40)
    assert (finished > 0) is not contended


@pytest.mark.parametrize("side", ["read", "write"])
async def test_a_session_lost_while_waiting_is_a_lost_lock(store, side):
    client, raised = store.client(), []

    async def wait_in_vain():
        try:
            async with getattr(ReadWriteLock(client, PATH), side)():
                pytest.fail("held by two")
        except LockLost as error:
            raised.append(error)

    async with ReadWriteLock(store.client(), PATH).write():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_in_vain)
            await until(lambda: len(store.watches) == 3)
            client.lose_session()
    assert [str(error) for error in raised] == ["The lock was lost: /rw (while waiting for it: the session is over)"]


async def test_u12_a_waiter_whose_own_znode_goes_raises_and_does_not_loop(store):
    raised = []

    async def wait_in_vain():
        try:
            async with ReadWriteLock(store.client(), PATH).read():
                pytest.fail("held by two")
        except LockLost as error:
            raised.append(error)

    async with ReadWriteLock(store.client(), PATH).write():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_in_vain)
            await until(lambda: len(store.watches) == 3)
            store.remove(f"{PATH}/{next(name for name in store.names(PATH) if '-read-' in name)}")
    assert len(raised) == 1
    assert store.watches == []
