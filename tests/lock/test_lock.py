import asyncio
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest

from recipes.core.errors import LockLost
from recipes.lock.lock import Lock
from tests.lock.turns import until
from tests.lock.visitors import PATH, visit

pytestmark = pytest.mark.anyio


async def test_grant_carries_the_fence_and_the_znode_goes_with_the_block(store):
    client = store.client()
    async with Lock(client, "/a/b") as grant:
        assert [f"/a/b/{name}" for name in store.names("/a/b")] == [grant.path]
        assert grant.fence == store.nodes[grant.path][1].czxid
        assert not grant.ended.is_set()
    assert store.names("/a/b") == []
    assert store.watches == []


async def test_an_uncontended_acquire_is_two_requests(store):
    client = store.client()
    async with Lock(client, "/a"):
        pass
    store.requests.clear()
    lock = Lock(client, "/a")
    await lock.__aenter__()
    before_the_block = [name for name, _ in store.requests]
    await lock.__aexit__(None, None, None)
    assert before_the_block == ["create2", "children", "watch_deletion"]  # for the third nobody waits


async def test_who_is_next_asks_nothing_when_the_lock_before_is_gone(store):
    async def scene(all):
        await all.come("first", Lock(store.client(), PATH))
        await all.come("second", Lock(store.client(), PATH))
        store.requests.clear()
        await all.leave("first")
        assert sorted(all.inside) == ["second"]
        assert [name for name, _ in store.requests] == ["delete"]

    await visit(store, scene)


async def test_waiters_follow_in_order_of_arrival_and_watch_only_the_one_before(store):
    order, fences = [], []

    async def work(number):
        async with Lock(store.client(), "/a") as grant:
            order.append(number)
            fences.append(grant.fence)

    async with anyio.create_task_group() as tasks:
        async with Lock(store.client(), "/a"):
            for number in range(4):
                tasks.start_soon(work, number)
                # Each watches its own znode, and each waiter the one before.
                await until(lambda count=2 * number + 3: len(store.watches) == count)
            before = [watch.path for watch in store.watches if not hasattr(watch, "gone")]
            assert len(before) == len(set(before)) == 4
    assert order == [0, 1, 2, 3]
    assert fences == sorted(fences)


async def test_p9_order_holds_over_the_wrap_of_the_sequence_number(store):
    order = []

    async def work(number):
        async with Lock(store.client(), "/a"):
            order.append(number)

    async with Lock(store.client(), "/a"):
        pass
    store.counters["/a"] = 2**31 - 2
    async with anyio.create_task_group() as tasks:
        async with Lock(store.client(), "/a"):
            for number in range(4):
                tasks.start_soon(work, number)
                await until(lambda count=number + 2: len(store.names("/a")) == count)
                await until(lambda count=2 * number + 3: len(store.watches) == count)
    assert order == [0, 1, 2, 3]


async def test_try_acquire_yields_none_when_taken_and_leaves_nothing(store):
    client = store.client()
    async with Lock(client, "/a") as held:
        async with Lock(store.client(), "/a").try_acquire() as grant:
            assert grant is None
            assert [f"/a/{name}" for name in store.names("/a")] == [held.path]
    async with Lock(client, "/a").try_acquire() as grant:
        assert grant is not None
    assert store.names("/a") == []


async def test_a_task_cannot_take_the_lock_twice(store):
    lock = Lock(store.client(), "/a")
    async with lock:
        with pytest.raises(RuntimeError, match="not reentrant"):
            async with lock:
                pass
        assert len(store.names("/a")) == 1
    assert store.names("/a") == []


async def test_p1_losing_the_session_cancels_the_block_and_raises(store):
    client, reached = store.client(), False
    with pytest.raises(LockLost):
        async with Lock(client, "/a") as grant:
            client.lose_session()
            assert grant.ended.is_set()
            await anyio.sleep_forever()
            reached = True
    assert not reached


async def test_loss_surfaces_without_a_further_await(store):
    client = store.client()
    with pytest.raises(LockLost):
        async with Lock(client, "/a"):
            client.lose_session()


async def test_u13_loss_surfaces_over_the_blocks_own_exception(store):
    client = store.client()
    with pytest.raises(LockLost) as caught:
        async with Lock(client, "/a"):
            client.lose_session()
            raise ValueError
    assert isinstance(caught.value.__cause__, ValueError)


async def test_p4_u8_a_block_past_the_local_deadline_has_lost(store):
    client = store.client()
    with pytest.raises(LockLost):
        async with Lock(client, "/a"):
            client.session.expires_at = 0


async def test_a_block_that_raises_past_the_local_deadline_has_lost(store):
    client = store.client()
    with pytest.raises(LockLost) as caught:
        async with Lock(client, "/a"):
            client.session.expires_at = 0
            raise ValueError
    assert isinstance(caught.value.__cause__, ValueError)


async def test_a_broken_lock_is_lost(store):
    with pytest.raises(LockLost):
        async with Lock(store.client(), "/a") as grant:
            store.remove(grant.path)
            await anyio.sleep_forever()


async def test_the_blocks_own_exception_comes_out_as_it_is(store):
    with pytest.raises(ValueError, match="mine"):
        async with Lock(store.client(), "/a"):
            raise ValueError("mine")
    assert store.names("/a") == []


async def test_p2_session_lost_while_waiting_is_a_lost_lock(store):
    client, raised = store.client(), []

    async def wait_in_vain():
        try:
            async with Lock(client, "/a"):
                pytest.fail("held by two")
        except LockLost as error:
            raised.append(error)

    async with Lock(store.client(), "/a"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_in_vain)
            await until(lambda: len(store.watches) == 3)
            client.lose_session()
    assert list(map(str, raised)) == ["The lock was lost: /a (while waiting for it: the session is over)"]


async def test_u14_holders_and_waiters(store):
    lock = Lock(store.client(), "/a", b"me")
    assert await lock.holders() == []
    async with lock as grant:
        (holder,) = await lock.holders()
        assert (holder.data, holder.fence, holder.path) == (b"me", grant.fence, grant.path)
        assert (holder.since, holder.session_id) == (store.nodes[grant.path][1].ctime / 1000, grant.session_id)
        assert await lock.waiters() == []


@pytest.mark.parametrize("lose_request", [False, True])
@pytest.mark.parametrize("number", range(1, 13))
async def test_s7_any_lost_reply_leaves_one_holder_and_then_nothing(store, number, lose_request):
    store.lose_reply, store.lose_request = number, lose_request
    async with Lock(store.client(), "/a/b") as grant:
        assert [f"/a/b/{name}" for name in store.names("/a/b")] == [grant.path]
    assert store.names("/a/b") == []
    assert store.watches == []


@pytest.mark.parametrize("contended", [False, True])
async def test_p12_cancelled_at_every_checkpoint_nothing_stays_behind(store, contended):
    finished = 0
    holder = store.client()
    async with Lock(holder, "/a"):
        pass

    async def work(scope):
        nonlocal finished
        with scope:
            async with Lock(store.client(), "/a"):
                await anyio.lowlevel.checkpoint()
            finished += 1

    async def cancelled_after(turns):
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work, scope)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

    for turns in range(60):
        if contended:
            async with Lock(holder, "/a"):
                await cancelled_after(turns)
                assert len(store.names("/a")) == 1
        else:
            await cancelled_after(turns)
        assert store.names("/a") == []
        assert store.watches == []
    assert (finished > 0) is not contended  # so the last turns came after the whole way, and all before was cut


async def test_a_clean_up_that_meets_a_dead_connection_is_handed_to_the_client(store, monkeypatch):
    monkeypatch.setattr("recipes.hold._CONFIRM_SECONDS", 0)
    client = store.client()
    async with Lock(client, "/a"):
        pass
    assert store.names("/a") == []  # the delete itself ran out of time
    scope = anyio.CancelScope()

    def create_then_cancelled(path, data, *, ephemeral, sequential, acl):
        client._create(path, data, ephemeral, sequential)
        scope.cancel()
        return SimpleNamespace(done=False, error=None)

    client.start_create = create_then_cancelled
    with scope:
        async with Lock(client, "/a"):
            pytest.fail("held without a reply")
    assert store.names("/a") == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_asyncio_cancels_again_and_again_leaves_nothing_behind(store, anyio_backend):
    async def work(client):
        async with Lock(client, "/a"):
            await asyncio.sleep(0)

    async with Lock(store.client(), "/a"):
        pass
    for moment in range(20):
        for again in range(1, 6):
            task = asyncio.create_task(work(store.client()))
            for _ in range(moment):
                await asyncio.sleep(0)
            task.cancel()
            for _ in range(again):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert store.names("/a") == []
            assert store.watches == []


async def test_an_acquire_past_the_local_deadline_asks_once_more(store):
    client, holder = store.client(), Lock(store.client(), "/a")
    order = []

    async def wait():
        async with Lock(client, "/a"):
            order.append("held")

    sync = client.sync

    async def answered(path):
        order.append("asked")
        await sync(path)
        client.session.expires_at = float("inf")

    client.sync = answered
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            async with holder:
                tasks.start_soon(wait)
                await until(lambda: len(store.watches) == 3)
                client.session.expires_at = 0  # as after a loop that was blocked for long
    assert order == ["asked", "held"]
