"""Readers, writers, permits and guarded writes on real servers, ours and Apache's."""

import anyio
import pytest

from recipes import (
    BadArguments,
    Lock,
    LockLost,
    MultiLock,
    ReadWriteLock,
    ReentrantLock,
    Semaphore,
    SettingsDiffer,
    connect,
)

pytestmark = pytest.mark.anyio
SECONDS = 60


async def until(condition):
    """Poll until `condition()` is true; whoever calls has a time limit around it."""
    while not await condition():
        await anyio.sleep(0.01)


async def test_readers_writers_and_a_downgrade(hosts, root):
    path, events = f"{root}/rw", []

    async def read(rw, name):
        async with rw.read():
            events.append(name)

    async def write(rw, name):
        async with rw.write() as grant:
            events.append(name)
            assert grant.fence > fence

    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two:
            first, second = ReadWriteLock(one, path), ReadWriteLock(two, path)
            async with anyio.create_task_group() as tasks:
                async with first.write() as grant:
                    fence = grant.fence
                    for number, (work, name) in enumerate(((read, "r1"), (write, "w"), (read, "r2"))):
                        tasks.start_soon(work, second, name)

                        async def joined(count=number + 2):
                            return len(await one.children(path)) == count

                        await until(joined)
                    async with second.try_write(within=0.05) as none:
                        assert none is None
                    await grant.downgrade()
                    assert grant.fence == fence and grant.reading

                    async def read_meanwhile():
                        return events == ["r1"]

                    await until(read_meanwhile)
                    assert [each.fence for each in await second.holders()] == [fence]
                    assert [each.kind for each in await second.waiters()] == ["write", "read"]
                    async with grant.guarded() as multi:
                        multi.create(f"{root}/made")
            assert events == ["r1", "w", "r2"]
            assert await one.children(path) == []


async def test_permits_go_on_in_order_and_the_limit_can_be_changed(hosts, root):
    path, inside, most = f"{root}/semaphore", set(), 0
    order = []

    async def work(client, number):
        nonlocal most
        async with Semaphore(client, path, 2):
            order.append(number)
            inside.add(number)
            most = max(most, len(inside))
            while number < 2 and not {0, 1} <= {*order}:  # the two that came first are inside together
                await anyio.sleep(0.001)
            await anyio.sleep(0.02)
            inside.remove(number)

    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two:
            async with anyio.create_task_group() as tasks:
                grant = await Semaphore(one, path, 2).acquire(2)
                for number in range(6):
                    tasks.start_soon(work, (one, two)[number % 2], number)

                    async def joined(count=number + 2):
                        return len(await one.children(path)) == count

                    await until(joined)
                await grant.release()
            assert most == 2 and sorted(order) == list(range(6)) and {*order[:2]} == {0, 1}
            assert await one.children(path) == []
            with pytest.raises(SettingsDiffer, match=r"limit=2.*limit=3"):
                await Semaphore(two, path, 3).acquire()
            async with Semaphore(one, path, 2):
                async with anyio.create_task_group() as tasks:
                    late = []

                    async def wait():
                        try:
                            async with Semaphore(two, path, 2).try_acquire(2, within=SECONDS) as grant:
                                late.append(grant)
                        except BadArguments as error:
                            late.append(error)

                    tasks.start_soon(wait)

                    async def waits():
                        return len(await one.children(path)) == 2

                    await until(waits)
                    await Semaphore(one, path, 2).resize(3)
                    while not late:
                        await anyio.sleep(0.01)
                    assert late[0] is not None and late[0].permits == 2


async def test_several_at_once_again_and_again_and_asked_to_give_up(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two:
            both = MultiLock([Lock(one, f"{root}/b"), Lock(one, f"{root}/a")])
            async with both as grant:
                async with Lock(two, f"{root}/b").try_acquire() as none:
                    assert none is None
                async with grant.guarded() as multi:
                    multi.create(f"{root}/made")
                assert multi.results == [f"{root}/made"]
                (asked,) = await Lock(two, f"{root}/b").revoke()
                assert asked.path == grant.grants[f"{root}/b"].path
                await grant.grants[f"{root}/b"].revoke_requested.wait()
                assert not grant.ended.is_set() and not grant.grants[f"{root}/a"].revoke_requested.is_set()
            lock = ReentrantLock(one, f"{root}/c")
            async with lock as outer, lock as inner:
                assert outer.fence == inner.fence


async def test_s14_an_old_holder_writes_nothing_although_nobody_told_it(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two:
            await one.create(f"{root}/data", b"before", make_parents=True)
            with pytest.raises(LockLost):
                async with Lock(one, f"{root}/lock") as grant:
                    grant._tenure._watch.cancel()
                    await two.delete(grant.path)
                    async with Lock(two, f"{root}/lock") as next_one, next_one.guarded() as multi:
                        multi.set(f"{root}/data", b"by the next one")
                    async with grant.guarded() as multi:
                        multi.set(f"{root}/data", b"by the old one")
            assert (await one.get(f"{root}/data"))[0] == b"by the next one"
