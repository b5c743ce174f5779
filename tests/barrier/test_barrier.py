"""The gate and the counted gate, on our server and on Apache's, on asyncio and on trio."""

import anyio
import pytest

from recipes.barrier.barrier import Barrier
from recipes.barrier.latch import CountDownLatch
from recipes.core.client.connect import connect
from recipes.core.errors import BadArguments, SettingsDiffer

pytestmark = pytest.mark.anyio


async def test_a_gate_holds_back_until_it_is_removed(hosts, root):
    passed = []
    async with connect(hosts) as one, connect(hosts) as two:
        gate = Barrier(one, root)
        assert await gate.create() and not await gate.create()

        async def wait(client, name):
            await Barrier(client, root).wait()
            passed.append(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, one, "one")
            tasks.start_soon(wait, two, "two")
            await two.sync(root)
            await two.get(root)
            assert passed == []
            assert await gate.remove() and not await gate.remove()
        assert sorted(passed) == ["one", "two"]
        await gate.wait()


async def test_a_gate_that_is_closed_again_holds_newcomers_only(hosts, root):
    async with connect(hosts) as client:
        gate = Barrier(client, root)
        await gate.create()
        await gate.remove()
        await gate.create()
        with anyio.move_on_after(0.2) as limit:
            await gate.wait()
        assert limit.cancelled_caught


async def test_u23_a_latch_opens_after_its_count(hosts, root):
    async with connect(hosts) as one, connect(hosts) as two:
        latch = CountDownLatch(one, root, 3)
        opened = anyio.Event()

        async def wait():
            await CountDownLatch(two, root, 3).wait()
            opened.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            assert await latch.count_down("a")
            assert not await latch.count_down("a")
            assert not await CountDownLatch(two, root, 3).count_down("a")
            await latch.count_down()
            assert await latch.remaining() == 1
            await two.sync(root)
            await two.get(root)
            assert not opened.is_set()
            await latch.count_down()
        assert opened.is_set() and await latch.remaining() == 0
        await latch.count_down("late")
        assert await latch.remaining() == 0
        await latch.remove()
        assert await one.exists(root) is None


async def test_a_latch_is_removed_with_what_is_counted_meanwhile(hosts, root, monkeypatch):
    async with connect(hosts) as one, connect(hosts) as two:
        latch, listed = CountDownLatch(one, root, 3), []
        await latch.count_down("early")
        children = one.children

        async def list_and_count(path):
            listed.append(await children(path))
            if len(listed) == 1:
                await CountDownLatch(two, root, 3).count_down("late")
                await one.sync(root)
            return listed[-1]

        monkeypatch.setattr(one, "children", list_and_count)
        await latch.remove()
        assert await one.exists(root) is None
        assert listed == [["done-early"], ["done-late"]]


async def test_users_of_a_latch_that_disagree_are_told_so(hosts, root):
    async with connect(hosts) as client:
        await CountDownLatch(client, root, 3).count_down()
        with pytest.raises(SettingsDiffer, match=r"count=3.*count=4"):
            await CountDownLatch(client, root, 4).wait()
        await client.set(root, b"theirs")
        with pytest.raises(SettingsDiffer, match="theirs"):
            await CountDownLatch(client, root, 3).wait()


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "3"])
def test_a_count_that_is_none_is_refused(count):
    with pytest.raises(BadArguments, match="count="):
        CountDownLatch(None, "/latch", count)


@pytest.mark.parametrize("token", ["", "a/b"])
async def test_a_token_that_is_no_name_is_refused(hosts, root, token):
    async with connect(hosts) as client:
        with pytest.raises(BadArguments, match="token="):
            await CountDownLatch(client, root, 3).count_down(token)
