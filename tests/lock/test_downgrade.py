"""A writer that becomes a reader, with writers waiting behind it."""

import anyio
import anyio.lowlevel
import pytest

from recipes.core.errors import LockLost
from recipes.lock import ReadWriteLock
from tests.lock.turns import settled
from tests.lock.visitors import PATH, visit

pytestmark = pytest.mark.anyio


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


async def test_p20_at_each_moment_of_a_downgrade_somebody_of_ours_is_in_front_of_the_waiting_writer(store):
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
