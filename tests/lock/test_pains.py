"""What users of other libraries' locks reported: each test is named after entries of tests/reported.md."""

import gc
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from recipes import ACL, ConnectionLoss, Election, Id, Lock, LockLost, SessionExpired, connect
from tests.cable import cabled
from tests.lock.turns import settled, until
from tests.lock.uses import acquire, lead, take
from tests.lock.virtual import BACKENDS, on_virtual_time

pytestmark = pytest.mark.anyio

SECONDS = 60


async def test_p3_what_an_earlier_session_left_is_waited_for_and_not_taken_for_ours(store):
    first, held = store.client(), []
    old = await Lock(first, "/a").acquire()
    first.session.end(SessionExpired)  # this process knows, and the servers do not yet
    assert old.lost

    async def take_it():
        async with Lock(store.client(), "/a") as grant:
            held.append(grant.fence)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_it)
        await settled(store)
        assert held == []
        store.remove(old.path)
    assert held[0] > old.fence


async def test_p6_a_release_that_is_repeated_takes_nothing_of_a_later_hold(store):
    client, later = store.client(), []
    first = await Lock(client, "/a").acquire()
    delete = client.delete

    async def take_it():
        later.append(await Lock(client, "/a").acquire())

    async def lose_the_first_reply(path):
        await delete(path)
        if not later:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take_it)
            raise ConnectionLoss(path=path, maybe_applied=True)

    client.delete = lose_the_first_reply
    await first.release()
    assert store.requests.count(("delete", first.path)) == 2  # the second one is the repetition
    await first.release()
    assert [f"/a/{name}" for name in store.names("/a")] == [later[0].path]
    assert not later[0].ended.is_set()
    await later[0].release()


@pytest.mark.parametrize("lose_request", [False, True])
@pytest.mark.parametrize("turns", range(6))
async def test_p7_a_release_that_is_cancelled_is_carried_out(store, turns, lose_request):
    grant = await Lock(store.client(), "/a").acquire()
    store.lose_reply, store.lose_request = len(store.requests) + 1, lose_request
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(grant.release)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    if turns:  # it had begun
        assert grant.ended.is_set()
        await settled(store)
        assert store.names("/a") == []
    await grant.release()
    assert store.names("/a") == []


@pytest.mark.parametrize("lose_request", [False, True])
@pytest.mark.parametrize("number", range(1, 7))
async def test_p8_a_try_whose_replies_are_lost_leaves_nothing(store, number, lose_request):
    async with Lock(store.client(), "/a") as held:
        store.lose_reply, store.lose_request = len(store.requests) + number, lose_request
        async with Lock(store.client(), "/a").try_acquire() as grant:
            assert grant is None
        await settled(store)
        assert [f"/a/{name}" for name in store.names("/a")] == [held.path]
    async with Lock(store.client(), "/a").try_acquire() as grant:
        assert grant is not None
    assert store.watches == []


@pytest.mark.parametrize("recipe", ["lock", "election"])
async def test_p10_s1_a_waiter_that_was_not_connected_when_its_turn_came_has_it_afterwards(hosts, root, recipe):
    use = {"lock": Lock, "election": lambda client, path: Election(client, path).lead()}[recipe]
    got = anyio.Event()

    async def wait(client):
        async with use(client, root):
            got.set()

    with anyio.fail_after(SECONDS):
        async with cabled(hosts) as (client, cable), connect(hosts) as other, anyio.create_task_group() as tasks:
            async with use(other, root):
                tasks.start_soon(wait, client)
                while len(await other.children(root)) < 2 or not client.session.watches["data"]:
                    await anyio.sleep(0.01)
                await cable.pull()
            assert not got.is_set()
            await cable.plug()
            await got.wait()


async def test_p11_tasks_that_share_a_lock_have_a_grant_each(store):
    lock, second = Lock(store.client(), "/a"), []

    async def take_it():
        second.append(await lock.acquire())

    first = await lock.acquire()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_it)
        await until(lambda: len(store.names("/a")) == 2)
        assert second == []
        await first.release()
    await first.release()  # what is not its own is none of its business
    assert [f"/a/{name}" for name in store.names("/a")] == [second[0].path]
    assert not second[0].ended.is_set() and second[0].fence > first.fence
    await second[0].release()


async def test_p13_no_task_outlives_what_it_was_started_for(our_server, root):
    def running():
        return {task.id for task in anyio.get_running_tasks()}

    async def is_quiet():
        with anyio.fail_after(SECONDS):
            while running() != before or await other.children(root):
                await anyio.sleep(0.01)

    async with connect(our_server.hosts) as client, connect(our_server.hosts) as other:
        await client.exists(root)
        before = running()
        for _ in range(3):
            async with Lock(client, root), Election(client, root).lead():
                pass
        async with Lock(other, root):
            async with Lock(client, root).try_acquire() as grant:
                assert grant is None
            async with Lock(client, root).try_acquire(within=0.02) as grant:
                assert grant is None
            with anyio.move_on_after(0.02):
                async with Lock(client, root):
                    pytest.fail("held by two")
        await is_quiet()
        assert client.session.scopes == {}
        assert not any(client.session.watches.values())


@pytest.mark.parametrize("recipe", [take, lead, acquire], ids=lambda recipe: recipe.__name__)
async def test_p26_a_parent_that_is_reaped_as_we_come_is_made_again(store, recipe):
    client, reaped = store.client(), []
    ensure_path = client.ensure_path

    async def ensure_and_reap(path, *, container):
        assert container
        await ensure_path(path, container=container)
        if len(reaped) < 8:
            reaped.append(path)
            store.remove(path)

    client.ensure_path = ensure_and_reap
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recipe, client)
        await until(lambda: len(store.names("/a")) == 1)
        tasks.cancel_scope.cancel()
    assert reaped == ["/a"] * 8


async def test_p26_an_ancestor_that_is_reaped_as_a_parent_with_an_acl_is_made_is_made_again(store):
    client, reaped = store.client(), []
    ensure_path = client.ensure_path

    async def ensure_and_reap(path, *, container):
        await ensure_path(path, container=container)
        if len(reaped) < 2:
            reaped.append(path)
            store.remove(path)

    client.ensure_path = ensure_and_reap
    async with Lock(client, "/a/b", acl=[ACL(31, Id("world", "anyone"))]) as grant:
        assert grant.fence > 0
    assert reaped == ["/a", "/a"]


@pytest.mark.parametrize("within", [None, 3600.0])
async def test_s2_a_wait_ends_with_the_lock_with_none_or_with_an_error(store, within):
    client, said = store.client(), []

    async def wait():
        try:
            lock = Lock(client, "/a")
            async with lock if within is None else lock.try_acquire(within=within) as grant:
                said.append(grant)
        except LockLost as error:
            said.append(str(error))

    async with Lock(store.client(), "/a"), anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await until(lambda: len(store.watches) == 3)
        client.lose_session()
    assert said == ["The lock was lost: /a (while waiting for it: the session is over)"]


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # trio says what this test does
async def test_u6_a_lock_in_an_async_generator_that_nobody_ends_is_released(store):
    client = store.client()

    async def steps():
        async with Lock(client, "/a") as grant:
            yield grant

    generator = steps()
    grant = await anext(generator)
    del generator
    gc.collect()
    with anyio.fail_after(SECONDS):
        while client.session.scopes:
            await anyio.lowlevel.checkpoint()
    assert store.names("/a") == []
    assert (grant.ended.is_set(), grant.lost) == (True, False)
    async with Lock(client, "/a").try_acquire() as again:
        assert again is not None


@BACKENDS
def test_u16_nobody_asks_again_and_again_while_there_is_no_server(backend):
    asked = []

    async def scene(store, client, clock):
        async def run(client):
            await Election(client, "/e").run(lambda term: anyio.sleep_forever())

        async def observe(client):
            async for _ in Election(client, "/a").observe():
                pass

        async def work():
            uses = [partial(each, client) for each in (take, lead, run, observe)]
            async with anyio.create_task_group() as tasks:
                for use in uses:
                    tasks.start_soon(use)
                await anyio.sleep(10)
                client.cut()
                before = len(store.requests)
                await anyio.sleep(3)
                asked.extend(store.requests[before:])
                client.mend()
                tasks.cancel_scope.cancel()

        async with Lock(store.client(), "/a"):
            await work()

    on_virtual_time(backend, 0.01, scene)
    assert [name for name, _ in asked if name != "ping"] == []
