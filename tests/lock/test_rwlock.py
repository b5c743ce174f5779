from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import pytest

from recipes.core.errors import LockLost
from recipes.lock import Lock, ReadWriteLock

pytestmark = pytest.mark.anyio
PATH = "/rw"


async def until(condition):
    with anyio.fail_after(30):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def settled(store):
    """Return once nothing goes on any more, as far as turns of the loop can tell."""
    before = None
    while before != (before := (len(store.requests), len(store.watches))):
        for _ in range(60):
            await anyio.lowlevel.checkpoint()


class Visitors:
    """Tasks, each with a client of its own, that take a side and stay until they are let go."""

    def __init__(self, store, tasks):
        self.store, self.tasks = store, tasks
        self.inside, self.let_go, self.grants = [], {}, {}

    async def come(self, name, side=None):
        """`name` begins with r or w, as what it wants."""
        self.let_go[name] = anyio.Event()
        self.tasks.start_soon(self._stay, name, side)
        await settled(self.store)

    async def _stay(self, name, side):
        rw = ReadWriteLock(self.store.client(), PATH)
        async with side or (rw.read() if name[0] == "r" else rw.write()) as grant:
            self.inside.append(name)
            self.grants[name] = grant
            await self.let_go[name].wait()
            self.inside.remove(name)

    async def leave(self, *names):
        for name in names:
            self.let_go[name].set()
            await settled(self.store)


async def visit(store, scene):
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            visitors = Visitors(store, tasks)
            await scene(visitors)
            tasks.cancel_scope.cancel()
    await settled(store)
    assert store.names(PATH) == []
    assert store.watches == []


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


# Downgrade.


async def test_a_downgraded_writer_lets_readers_in_and_no_writer(store):
    async def scene(all):
        for name in ("w1", "r1", "w2", "r2"):
            await all.come(name)
        grant = all.grants["w1"]
        fence, path = grant.fence, grant.path
        await grant.downgrade()
        await settled(store)
        assert sorted(all.inside) == ["r1", "w1"]
        assert grant.reading and grant.fence == fence and grant.path != path and not grant.ended.is_set()
        rw = ReadWriteLock(store.client(), PATH)
        assert [(each.kind, each.fence) for each in await rw.holders()] == [
            ("read", fence),
            ("read", all.grants["r1"].fence),
        ]
        await grant.downgrade()  # the second time it does nothing
        await all.leave("w1", "r1")
        assert sorted(all.inside) == ["w2"]
        assert all.grants["w2"].fence > fence  # although its znode is older than the reader's
        await all.leave("w2")
        assert sorted(all.inside) == ["r2"]

    await visit(store, scene)


async def test_at_each_moment_of_a_downgrade_somebody_of_ours_is_in_front_of_the_waiting_writer(store):
    fronts = []
    changed = store.changed

    def look(path, parent=None):
        fronts.append(min(store.names(PATH), key=lambda name: name[-10:], default=""))
        changed(path, parent)

    async def scene(all):
        await all.come("w1")
        await all.come("w2")
        ours = all.grants["w1"].path.split("/")[-1].split("-")[0]
        store.changed = look
        await all.grants["w1"].downgrade()
        await settled(store)
        assert fronts and all_begin(fronts, ours)
        store.changed = changed

    def all_begin(names, start):
        return all(name.startswith(start) for name in names)

    await visit(store, scene)


@pytest.mark.parametrize("lose_request", [False, True])
@pytest.mark.parametrize("number", range(1, 5))
async def test_a_downgrade_whose_reply_is_lost_is_made_once(store, number, lose_request):
    rw = ReadWriteLock(store.client(), PATH)
    async with rw.write() as grant:
        store.requests.clear()
        store.lose_reply, store.lose_request = number, lose_request
        await grant.downgrade()
        assert [f"{PATH}/{name}" for name in store.names(PATH)] == [grant.path]
        assert grant.reading and "-read-" in grant.path and not grant.ended.is_set()
    assert store.names(PATH) == []
    assert store.watches == []


@pytest.mark.parametrize("lose", [0, 1])
async def test_a_downgrade_cancelled_at_each_moment_leaves_one_hold_and_then_nothing(store, lose):
    whole = 0
    for turns in range(30):
        rw = ReadWriteLock(store.client(), PATH)
        async with rw.write() as grant, anyio.create_task_group() as tasks:
            store.requests.clear()
            store.lose_reply = lose
            scope = anyio.CancelScope()

            async def downgrade(scope=scope, grant=grant):
                with scope:
                    await grant.downgrade()

            tasks.start_soon(downgrade)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
            await settled(store)
            assert not grant.ended.is_set()
            assert [f"{PATH}/{name}" for name in store.names(PATH)] == [grant.path]
            whole += grant.reading
        await settled(store)
        assert store.names(PATH) == []
        assert store.watches == []
    assert whole


@pytest.mark.parametrize("lose", [0, 1])
async def test_a_block_left_in_the_middle_of_a_downgrade_leaves_nothing(store, lose):
    for turns in range(30):
        rw = ReadWriteLock(store.client(), PATH)
        async with anyio.create_task_group() as tasks:
            async with rw.write() as grant:
                store.requests.clear()
                store.lose_reply = lose

                async def downgrade(grant=grant):
                    try:
                        await grant.downgrade()
                    except LockLost:
                        pass

                tasks.start_soon(downgrade)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
        await settled(store)
        assert store.names(PATH) == []
        assert store.watches == []


@pytest.mark.parametrize("lose", [0, 1])
async def test_a_release_in_the_middle_of_a_downgrade_is_confirmed(store, lose):
    for turns in range(30):
        rw = ReadWriteLock(store.client(), PATH)
        async with anyio.create_task_group() as tasks:
            grant = await rw.acquire_write()
            store.requests.clear()
            store.lose_reply = lose

            async def downgrade(grant=grant):
                try:
                    await grant.downgrade()
                except LockLost:
                    pass

            tasks.start_soon(downgrade)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            await grant.release()
            assert store.names(PATH) == []
            assert not grant.lost
        await settled(store)
        assert store.watches == []


async def test_a_downgrade_of_what_is_lost_is_refused(store):
    client = store.client()
    rw = ReadWriteLock(client, PATH)
    with pytest.raises(LockLost):
        async with rw.write() as grant:
            store.remove(grant.path)
            await grant.downgrade()
    grant = await rw.acquire_write()
    await grant.release()
    with pytest.raises(LockLost, match="released"):
        await grant.downgrade()


async def test_a_downgraded_hold_whose_znode_is_deleted_is_lost(store):
    with pytest.raises(LockLost):
        async with ReadWriteLock(store.client(), PATH).write() as grant:
            await grant.downgrade()
            store.remove(grant.path)
            await anyio.sleep_forever()


async def test_a_session_lost_in_a_downgrade_ends_the_hold(store):
    for turns in range(8):
        client = store.client()
        with pytest.raises(LockLost):
            async with ReadWriteLock(client, PATH).write() as grant, anyio.create_task_group() as tasks:
                tasks.start_soon(grant.downgrade)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                client.lose_session()
        await settled(store)
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
    finished = 0
    holder = ReadWriteLock(store.client(), PATH)
    async with holder.write():
        pass

    async def work(scope):
        nonlocal finished
        with scope:
            async with getattr(ReadWriteLock(store.client(), PATH), side)():
                await anyio.lowlevel.checkpoint()
            finished += 1

    for turns in range(40):
        async with AsyncExitStack() as stack:
            if contended:
                await stack.enter_async_context(holder.write())
            scope = anyio.CancelScope()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work, scope)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
            assert len(store.names(PATH)) == contended
        assert store.names(PATH) == []
        assert store.watches == []
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
