"""Lock(confirm=False): the deletion goes out, and nobody waits for its reply."""

import anyio
import anyio.lowlevel
import pytest

from recipes import Lock, connect
from recipes.core.errors import LockLost
from tests.lock.turns import settled, until

pytestmark = pytest.mark.anyio


async def test_leaving_asks_for_the_deletion_and_does_not_wait(store):
    client = store.client()
    async with Lock(client, "/a", confirm=False) as grant:
        store.requests.clear()
    assert grant.ended.is_set() and grant.why == "released"
    assert store.requests == []  # it leaves with the next one, or in the loop's next turn
    await until(lambda: store.names("/a") == [])
    assert [name for name, _ in store.requests] == ["delete"]


@pytest.mark.parametrize("lose_request", [False, True])
async def test_a_deletion_whose_reply_is_lost_is_made_all_the_same(store, lose_request):
    client = store.client()
    async with Lock(client, "/a", confirm=False):
        store.requests.clear()
        store.lose_reply, store.lose_request = 1, lose_request
    await until(lambda: store.names("/a") == [])
    assert [name for name, _ in store.requests][:1] == ["delete"]


async def test_the_next_place_of_the_same_client_comes_in_one_transaction_with_the_end_of_the_last(store):
    client = store.client()
    fences = []
    for _ in range(3):
        async with Lock(client, "/a", confirm=False) as grant:
            fences.append(grant.fence)
            assert [f"/a/{name}" for name in store.names("/a")] == [grant.path]
            assert grant.fence == store.nodes[grant.path][1].czxid
            asked = [name for name, _ in store.requests]
            store.requests.clear()
    assert asked == ["multi", "exists", "watch_deletion"]  # for the third nobody waits
    assert fences == sorted(set(fences))


@pytest.mark.parametrize("change", ["joined", "broken", "gone again"])
async def test_what_others_did_in_between_is_noticed(store, change):
    """Somebody joins the line, or deletes our last place, or makes a sequential znode and deletes it again."""
    client, other = store.client(), store.client()
    async with Lock(client, "/a", confirm=False) as grant:
        last = grant.path
        if change != "broken":
            path, _ = other._create("/a/_r_0123456789abcdef-lock-", b"", True, True)
        if change == "gone again":
            store.remove(path)
        await settled(store)
    if change == "broken":
        store.remove(last)
    async with Lock(client, "/a", confirm=False).try_acquire() as grant:
        assert (grant is None) is (change == "joined")
        assert last not in store.nodes
    await until(lambda: len(store.names("/a")) == (change == "joined"))


async def test_a_place_that_only_waited_says_nothing_about_the_next_one(store):
    client = store.client()
    lock = Lock(client, "/a", confirm=False)
    async with Lock(store.client(), "/a"):
        async with lock.try_acquire() as first:
            pass
        async with lock.try_acquire() as second:
            pass
    assert first is second is None
    await until(lambda: store.names("/a") == [])


@pytest.mark.parametrize("number", range(1, 12))
@pytest.mark.parametrize("lose_request", [False, True])
async def test_any_lost_reply_of_two_acquires_in_a_row_leaves_nothing(store, number, lose_request):
    lock = Lock(store.client(), "/a", confirm=False)
    store.lose_reply, store.lose_request = number, lose_request
    for _ in range(2):
        async with lock as grant:
            assert [f"/a/{name}" for name in store.names("/a")][-1:] == [grant.path]
    await until(lambda: store.names("/a") == [])
    await settled(store)
    assert store.watches == []


async def test_cancelled_at_each_turn_two_acquires_in_a_row_leave_nothing(store):
    for turns in range(40):
        scope, lock = anyio.CancelScope(), Lock(store.client(), "/a", confirm=False)

        async def work(scope=scope, lock=lock):
            with scope:
                async with lock:
                    pass
                async with lock:
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
        await until(lambda: store.names("/a") == [])
        await settled(store)
        assert store.watches == []


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


async def test_a_request_between_the_release_and_the_next_acquire_comes_behind_the_release(hosts, root):
    with anyio.fail_after(60):
        async with connect(hosts) as client:
            lock = Lock(client, root, confirm=False)
            async with lock as grant:
                pass
            listing = client.start_children(root)
            async with lock as after:
                assert await listing.result() == []
                assert after.fence > grant.fence


async def test_an_acquire_that_is_cancelled_at_once_leaves_the_release_where_it_was(hosts, root):
    with anyio.fail_after(60):
        async with connect(hosts) as client:
            lock = Lock(client, root, confirm=False)
            for _ in range(10):
                async with lock as grant:
                    pass
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    async with lock:
                        pass
                assert await client.exists(grant.path) is None
            while await client.children(root):
                await anyio.sleep(0.001)


async def test_data_that_leave_no_room_for_the_release_in_the_same_request(hosts, root):
    with anyio.fail_after(60):
        async with connect(hosts) as client:
            await client.create(f"{root}", make_parents=True)
            lock = Lock(client, root, b"x" * (1048575 - 200), confirm=False)
            for _ in range(2):
                async with lock as grant:
                    assert [f"{root}/{name}" for name in await client.children(root)] == [grant.path]
