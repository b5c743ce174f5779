"""MultiLock and ReentrantLock, guarded writes, and asking a holder to give up."""

from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import pytest

from recipes.core.errors import BadArguments, BadVersion, LeadershipLost, LockLost, NoNode
from recipes.election import Election
from recipes.lock import Lock, MultiLock, ReadWriteLock, ReentrantLock, Semaphore

pytestmark = pytest.mark.anyio


async def settled(store):
    """Return once nothing goes on any more, as far as turns of the loop can tell."""
    before = None
    while before != (before := (len(store.requests), len(store.watches))):
        for _ in range(30):
            await anyio.lowlevel.checkpoint()


def in_line(store):
    return [name for path in ("/a", "/b", "/c") for name in store.names(path)]


# Several as one.


def three(client):
    return MultiLock([Lock(client, "/c"), ReadWriteLock(client, "/a").read(), Semaphore(client, "/b", 1)])


async def test_all_are_taken_in_the_order_of_their_paths(store):
    async with three(store.client()) as grant:
        assert list(grant.grants) == ["/a", "/b", "/c"]
        assert list(grant.fences.values()) == sorted(grant.fences.values())
        assert all(not each.ended.is_set() for each in grant.grants.values())
    assert grant.ended.is_set() and grant.why == "released"
    assert in_line(store) == [] and store.watches == []


async def test_two_that_are_named_the_other_way_round_do_not_wait_for_each_other(store):
    done = []

    async def work(names):
        client = store.client()
        for _ in range(5):
            async with MultiLock([Lock(client, name) for name in names]):
                await anyio.lowlevel.checkpoint()
                done.append(names)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work, ["/a", "/b"])
            tasks.start_soon(work, ["/b", "/a"])
    assert len(done) == 10
    assert in_line(store) == []


@pytest.mark.parametrize("within", [0.0, 0.02])
async def test_when_one_is_not_to_be_had_all_are_given_back(store, within):
    client = store.client()
    async with Lock(store.client(), "/b"):
        async with three_locks(client).try_acquire(within=within) as grant:
            assert grant is None
            assert len(in_line(store)) == 1
    async with three_locks(client).try_acquire() as grant:
        assert grant is not None
    assert in_line(store) == [] and store.watches == []


def three_locks(client):
    return MultiLock([Lock(client, path) for path in ("/b", "/a", "/c")])


async def test_an_error_of_one_gives_all_back(store):
    client = store.client()
    with pytest.raises(BadArguments):
        async with MultiLock([Lock(client, "/a"), Broken(client, "/b")]):
            pass
    assert in_line(store) == []


class Broken(Lock):
    def _contend(self):
        raise BadArguments(self.path, "broken")


async def test_cancelled_at_each_await_all_or_none_and_then_nothing(store):
    finished = 0
    async with three_locks(store.client()):
        pass

    async def work(scope):
        nonlocal finished
        with scope:
            async with three_locks(store.client()):
                assert len(in_line(store)) == 3
                await anyio.lowlevel.checkpoint()
            finished += 1

    for turns in range(60):
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work, scope)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
        assert in_line(store) == [] and store.watches == []
    assert finished


@pytest.mark.parametrize("number", range(1, 15))
async def test_any_lost_reply_leaves_all_held_and_then_nothing(store, number):
    store.lose_reply = number
    async with three_locks(store.client()):
        assert len(in_line(store)) == 3
    assert in_line(store) == [] and store.watches == []


@pytest.mark.parametrize("path", ["/a", "/b", "/c"])
async def test_when_one_is_lost_all_have_ended_and_the_block_is_cancelled(store, path):
    with pytest.raises(LockLost) as caught:
        async with three_locks(store.client()) as grant:
            store.remove(grant.grants[path].path)
            assert grant.ended.is_set() and grant.lost
            assert all(each.lost for each in grant.grants.values())
            await anyio.sleep_forever()
    assert path in str(caught.value)
    assert in_line(store) == [] and store.watches == []


async def test_all_have_ended_before_the_first_is_free(store):
    removed, remove = [], store.remove

    def look(path):
        if path.startswith(("/a/", "/b/", "/c/")):
            removed.append(grant.ended.is_set() and all(each.ended.is_set() for each in grant.grants.values()))
        remove(path)

    store.remove = look
    async with three_locks(store.client()) as grant:
        pass
    assert removed == [True] * 3
    grant = await three_locks(store.client()).acquire()
    await grant.release()
    assert removed == [True] * 6
    assert in_line(store) == []


async def test_a_multilock_of_nothing_of_twice_the_same_or_of_two_clients_is_refused(store):
    one, two = store.client(), store.client()
    for wrong, said in (
        ([], "one or more"),
        ([Lock(one, "/a"), Lock(one, "/a")], "each path once"),
        ([Lock(one, "/a"), Lock(two, "/b")], "one client"),
    ):
        with pytest.raises(BadArguments, match=said):
            MultiLock(wrong)


async def test_a_task_cannot_take_a_multilock_twice(store):
    locks = three_locks(store.client())
    async with locks:
        with pytest.raises(RuntimeError, match="not reentrant"):
            async with locks:
                pass
        assert len(in_line(store)) == 3
    assert in_line(store) == []


# Again and again.


async def test_an_owner_takes_it_again_and_it_goes_with_the_outermost_block(store):
    lock = ReentrantLock(store.client(), "/a")
    async with lock as outer:
        async with lock as inner:
            assert inner.fence == outer.fence
            async with lock.try_acquire() as innermost:
                assert innermost is not None
            assert len(in_line(store)) == 1
        assert len(in_line(store)) == 1 and not outer.ended.is_set()
    assert outer.ended.is_set() and in_line(store) == [] and store.watches == []
    async with lock as later:
        assert later.fence > outer.fence


async def test_another_task_is_another_owner(store):
    lock, order = ReentrantLock(store.client(), "/a"), []

    async def other():
        async with lock.try_acquire() as grant:
            assert grant is None
        async with lock:
            order.append("other")

    async with anyio.create_task_group() as tasks:
        async with lock:
            tasks.start_soon(other)
            await settled(store)
            order.append("this")
    assert order == ["this", "other"] and in_line(store) == []


async def test_tasks_with_one_token_are_one_owner(store):
    lock, inside = ReentrantLock(store.client(), "/a"), []

    async def work(token):
        async with lock.by(token):
            inside.append(token)
            await settled(store)
            await anyio.sleep(0.01)
            together.add(len(inside))
            inside.remove(token)

    together = set()
    async with anyio.create_task_group() as tasks:
        for token in ("x", "x", "y", "x", "y"):
            tasks.start_soon(work, token)
    assert together >= {2, 3} and max(together) == 3
    assert in_line(store) == [] and store.watches == []


async def test_the_first_one_of_an_owner_may_give_up_and_the_next_one_asks_anew(store):
    lock, got = ReentrantLock(store.client(), "/a"), []
    scopes = [anyio.CancelScope() for _ in range(2)]

    async def work(number):
        with scopes[number]:
            async with lock.by("x") as grant:
                got.append((number, grant.fence))

    async with Lock(store.client(), "/a"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work, 0)
            await settled(store)
            tasks.start_soon(work, 1)
            await settled(store)
            scopes[0].cancel()
            await settled(store)
            assert len(in_line(store)) == 2  # the holder and the second one
            scopes[1].cancel()
    assert got == [] and in_line(store) == [] and store.watches == []


async def test_losing_it_cancels_all_blocks_of_the_owner(store):
    client, lost = store.client(), []
    lock = ReentrantLock(client, "/a")

    async def work():
        try:
            async with lock.by("x"):
                await anyio.sleep_forever()
        except LockLost as error:
            lost.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        tasks.start_soon(work)
        await settled(store)
        client.lose_session()
    assert len(lost) == 2
    client = store.client()
    lock = ReentrantLock(client, "/a")
    with pytest.raises(LockLost):
        async with lock as outer:
            with pytest.raises(LockLost):
                async with lock:
                    client.lose_session()
            assert outer.lost
            with pytest.raises(LockLost):
                async with lock:
                    pytest.fail("entered what is lost")
            await anyio.sleep_forever()
    assert in_line(store) == []


async def test_a_reentrant_block_that_is_cancelled_at_each_await_leaves_nothing(store):
    async with ReentrantLock(store.client(), "/a"):
        pass

    async def work(scope):
        lock = ReentrantLock(store.client(), "/a")
        with scope:
            async with lock:
                async with lock:
                    await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()

    for turns in range(30):
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work, scope)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
        assert in_line(store) == [] and store.watches == []


async def test_the_blocks_own_error_comes_out_of_each_block_as_it_is(store):
    lock = ReentrantLock(store.client(), "/a")
    with pytest.raises(ValueError, match="mine"):
        async with lock:
            with pytest.raises(ValueError, match="mine"):
                async with lock:
                    raise ValueError("mine")
            raise ValueError("mine")
    assert in_line(store) == []


# Guarded writes.


def everything_with_a_grant(client):
    return [
        Lock(client, "/a"),
        ReadWriteLock(client, "/a").read(),
        ReadWriteLock(client, "/a").write(),
        Semaphore(client, "/b", 1),
        ReentrantLock(client, "/a"),
        three_locks(client),
        Election(client, "/a").lead(),
    ]


@pytest.mark.parametrize("number", range(7))
async def test_guarded_writes_are_applied_while_it_is_held_and_never_after(store, number):
    client = store.client()
    await client.create("/data")
    with pytest.raises((LockLost, LeadershipLost)):
        async with everything_with_a_grant(client)[number] as grant:
            async with grant.guarded() as multi:
                multi.set("/data", b"one")
                multi.create("/made")
            assert [each if isinstance(each, str) else type(each).__name__ for each in multi.results] == [
                "SimpleNamespace",
                "/made",
            ]
            assert store.nodes["/data"][0] == b"one"
            client.deliver = lambda event: None  # nobody tells us
            for path in ("/a", "/b", "/c"):
                for name in store.names(path):
                    store.remove(f"{path}/{name}")
            assert not grant.ended.is_set()
            with pytest.raises((LockLost, LeadershipLost)):
                async with grant.guarded() as multi:
                    multi.set("/data", b"two")
            assert grant.ended.is_set() and grant.lost
            before = len(store.requests)
            with pytest.raises((LockLost, LeadershipLost)):
                async with grant.guarded() as multi:
                    pytest.fail("begun by one who has lost it")
            assert len(store.requests) == before
    assert store.nodes["/data"][0] == b"one"


async def test_guarded_writes_after_the_release_are_refused(store):
    client = store.client()
    async with Lock(client, "/a") as grant:
        pass
    with pytest.raises(LockLost, match="released"):
        async with grant.guarded() as multi:
            multi.create("/made")
    assert "/made" not in store.nodes


async def test_what_is_wrong_with_the_writes_themselves_is_said_and_nothing_is_lost(store):
    client = store.client()
    async with Lock(client, "/a") as grant:
        with pytest.raises(NoNode) as caught:
            async with grant.guarded() as multi:
                multi.set("/missing", b"")
        assert caught.value.path == "/missing"
        with pytest.raises(BadVersion):
            async with grant.guarded() as multi:
                multi.set("/a", b"", 7)
        with pytest.raises(ValueError, match="mine"):
            async with grant.guarded() as multi:
                multi.create("/made")
                raise ValueError("mine")
        assert not grant.ended.is_set() and "/made" not in store.nodes


async def test_guarded_writes_in_the_middle_of_a_downgrade_are_guarded_by_what_comes_of_it(store):
    for turns in range(12):
        client = store.client()
        async with ReadWriteLock(client, "/a").write() as grant, anyio.create_task_group() as tasks:
            tasks.start_soon(grant.downgrade)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            async with grant.guarded() as multi:
                multi.create(f"/made-{turns}")
        assert f"/made-{turns}" in store.nodes


# Asking for it.


async def test_a_holder_that_is_asked_to_give_it_up_sees_it_and_keeps_it(store):
    for lock in (
        Lock(store.client(), "/a", b"me"),
        ReadWriteLock(store.client(), "/a", b"me").write(),
        Semaphore(store.client(), "/b", 1, b"me"),
    ):
        other = type(lock).__new__(type(lock))
        other.__dict__ = {**lock.__dict__, "_client": store.client()}
        assert await other.revoke() == []
        async with lock as grant:
            assert not grant.revoke_requested.is_set()
            (asked,) = await other.revoke()
            assert asked.fence == grant.fence and asked.revoke_requested
            with anyio.fail_after(30):
                await grant.revoke_requested.wait()
            assert not grant.ended.is_set()
            (holder,) = await other.holders()
            assert (holder.data, holder.revoke_requested) == (b"me", True)
            before = store.nodes[grant.path]
            assert len(await other.revoke()) == 1
            assert store.nodes[grant.path] == before  # asked once
        assert in_line(store) == [] and store.watches == []
        async with lock as grant:  # the next grant is another one
            assert not grant.revoke_requested.is_set()


async def test_asked_between_the_acquire_and_the_first_look_it_is_seen(store):
    lock = Lock(store.client(), "/a")
    grant = await lock.acquire()
    store.nodes[grant.path][1].data_length = 30
    store.changed(grant.path)
    assert grant.revoke_requested.is_set()
    await grant.release()


async def test_each_reader_is_asked(store):
    rw = [ReadWriteLock(store.client(), "/a") for _ in range(3)]
    async with AsyncExitStack() as stack:
        grants = [await stack.enter_async_context(each.read()) for each in rw[:2]]
        assert len(await rw[2].revoke()) == 2
        await settled(store)
        assert all(grant.revoke_requested.is_set() for grant in grants)
