"""Lock(confirm=False): the deletion goes out, and nobody waits for its reply."""

import anyio
import pytest

from recipes import Lock, connect
from recipes.core.errors import LockLost
from tests.lock.turns import settled, until

pytestmark = pytest.mark.anyio


async def test_leaving_asks_for_the_deletion_and_does_not_wait(store):
    client = store.client()
    lock = Lock(client, "/a", confirm=False)
    for _ in range(2):
        async with lock as grant:
            store.requests.clear()
        assert grant.ended.is_set() and grant.why == "released"
        assert [name for name, _ in store.requests] == ["watch_deletion", "delete"][-len(store.requests) :]
        assert len(client.pending) >= 1  # the reply is under way still
    assert store.names("/a") == []


@pytest.mark.parametrize("lose_request", [False, True])
async def test_a_deletion_whose_reply_is_lost_is_made_all_the_same(store, lose_request):
    client = store.client()
    async with Lock(client, "/a", confirm=False):
        store.requests.clear()
        store.lose_reply, store.lose_request = 1, lose_request
    assert [name for name, _ in store.requests][:1] == ["delete"]
    assert store.names("/a") == []


async def test_the_next_one_gets_in_and_no_sooner(store):
    order = []

    async def take(client, number):
        async with Lock(client, "/a", confirm=False) as grant:
            order.append((number, grant.fence))
            await settled(store)
            assert not grant.ended.is_set()

    async with anyio.create_task_group() as tasks, Lock(store.client(), "/a", confirm=False):
        for number in range(3):
            tasks.start_soon(take, store.client(), number)
            await until(lambda number=number: len(store.names("/a")) == number + 2)
    assert [number for number, _ in order] == [0, 1, 2]
    assert order == sorted(order, key=lambda each: each[1])


async def test_a_cancelled_block_leaves_as_ever(store):
    with anyio.CancelScope() as scope:
        async with Lock(store.client(), "/a", confirm=False):
            scope.cancel()
            await anyio.sleep_forever()
    await until(lambda: store.names("/a") == [])


async def test_a_loss_that_was_heard_of_is_raised(store):
    with pytest.raises(LockLost):
        async with Lock(store.client(), "/a", confirm=False) as grant:
            store.remove(grant.path)
            await anyio.sleep_forever()


async def test_what_this_client_asks_for_next_comes_behind_it(hosts, root):
    with anyio.fail_after(60):
        async with connect(hosts) as client, connect(hosts) as other:
            lock = Lock(client, root, confirm=False)
            fences = []
            for _ in range(50):
                async with lock.try_acquire() as grant:
                    fences.append(grant.fence)  # never None: our own place is gone
            assert fences == sorted(set(fences))
            assert await client.children(root) == []
            async with Lock(other, root, confirm=False):
                pass
