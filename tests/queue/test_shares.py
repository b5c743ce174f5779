"""Consumers divide the items among themselves; nothing but speed depends on it."""

from contextlib import AsyncExitStack

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes import Queue, connect
from recipes.queue.claims import ListedItem
from recipes.queue.finder import Finder
from recipes.queue.shares import Place, place_of
from recipes.writer import Writer
from tests.queue.conftest import SECONDS, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def refused(monkeypatch):
    """The errors of writes that servers refused."""
    errors = []
    original = Writer._refuse_one

    def refuse_one(self, batch, outcome):
        errors.append(outcome.error)
        return original(self, batch, outcome)

    monkeypatch.setattr(Writer, "_refuse_one", refuse_one)
    return errors


@given(st.integers(1, 70), st.sets(st.integers(0, 2_000), max_size=300))
def test_each_item_is_in_one_share_and_shares_keep_the_order(consumers, numbers):
    found = [("100-0000000000", ListedItem(f"i-{number:010d}")) for number in sorted(numbers)]
    shares = [Place(rank, consumers).share(found) for rank in range(consumers)]
    assert sorted(each for share in shares for each in share) == found
    assert all(share == sorted(share) for share in shares)


def test_places_are_by_name_and_whoever_is_not_listed_is_behind():
    names = ["0a", "0b-consumes", "0c", "0d-consumes"]
    assert [place_of(names, own) for own in ("0b-consumes", "0d-consumes", "0c-consumes")] == [(0, 2), (1, 2), (2, 3)]
    assert place_of(["0a"], "0b-consumes") == Place()


async def consume(queue, messages, seen):
    async for message in messages:
        async with message:
            seen.append(int(message.data))
            await anyio.lowlevel.checkpoint()
        if await queue.size() == 0:
            return


async def present(client, root):
    return [name for name in await client.children(f"{root}/clients") if name.endswith("-consumes")]


async def test_consumers_that_begin_together_claim_different_items(hosts, root, refused):
    with anyio.fail_after(SECONDS):
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connect(hosts)) for _ in range(3)]
            queues = [Queue(client, root) for client in clients]
            await queues[0].put_many([b"%d" % number for number in range(300)])
            streams = [queue.consume(concurrency=4, prefetch=12) for queue in queues]
            for stream in streams:
                stream._finder._presence.enter()
            for client in clients:
                await client.sync()
            assert len(await present(clients[0], root)) == 3
            for stream in streams:
                await stack.enter_async_context(stream)
            await until(lambda: _is(all(stream._ready for stream in streams)))
            ours = [{each.item.name for each in (*stream._ready, *stream._claimed)} for stream in streams]
            assert [len(each) for each in ours] == [16, 16, 16]
            assert len(set.union(*ours)) == 48
            assert refused == []


async def test_what_is_in_the_share_of_one_that_takes_nothing_is_taken_by_the_others(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as idle, connect(hosts) as client:
            queue = Queue(client, root)
            await queue.put_many([b"%d" % number for number in range(300)])
            seen = []
            # It has claimed what it may, and none of its messages is asked for.
            async with Queue(idle, root).consume(concurrency=4, prefetch=4) as stuck:
                await until(lambda: _is(stuck._ready and stuck._claimed))
                async with queue.consume(concurrency=4, prefetch=60) as messages:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(consume, queue, messages, seen)
                        await until(lambda: _is(len(seen) == 292))
                        tasks.cancel_scope.cancel()
            assert await queue.counts() == (8, 0, 0)
            assert sorted(seen) == sorted(set(seen))


async def test_one_that_has_work_leaves_to_others_what_is_in_their_shares_until_it_has_none(hosts, root, refused):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other, connect(hosts) as client:
            queue = Queue(client, root)
            await queue.put_many([b"%d" % number for number in range(48)])
            finders = [made._parts().finder for made in (Queue(other, root), queue)]
            for finder in finders:
                finder._presence.enter()
            await client.sync(), await other.sync()
            own = await finders[1].claim(48, hand_out=0, only_own=True)
            assert len(own) in (16, 32)
            assert await finders[1].claim(48, hand_out=0, only_own=True) == []
            assert await finders[1].wait(48, hand_out=0) == []
            assert len(await finders[1].claim(1, hand_out=0, only_own=True)) == 1  # few are never left to others
            others = await finders[1].wait(48, hand_out=1)
            assert len(others) == 47 - len(own) and others[0].handed_out
            assert refused == []


async def test_a_task_that_wants_one_item_waits_also_if_a_stream_beside_it_leaves_some_to_others(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other, connect(hosts) as client:
            queue = Queue(client, root)
            await queue.put(b"first")
            finder = queue._parts().finder
            for each in (Queue(other, root)._parts().finder, finder):
                each._presence.enter()
            await client.sync(), await other.sync()
            (first,) = await finder.claim(1, hand_out=0)
            look = finder._look

            async def look_while_a_stream_waits(want, rivals):
                finder._look = look
                answer = await look(want, rivals)
                await queue.put_many([b"%d" % number for number in range(40)])
                assert await finder.claim(48, hand_out=0, only_own=True)
                assert await finder.wait(48, hand_out=0) == []
                return answer

            finder._look = look_while_a_stream_waits
            (second,) = await finder.wait(1, hand_out=0)
            assert second.item.number != first.item.number


async def test_what_an_earlier_look_found_is_no_longer_claimed_after_another_look(hosts, root, monkeypatch):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two:
            queue = Queue(one, root)
            await queue.put_many([b"low"] * 128)
            finders = [made._parts().finder for made in (queue, Queue(two, root))]
            for finder in finders:
                finder._presence.enter()
            await one.sync(), await two.sync()
            finder = max(finders, key=lambda finder: finder._presence._own)  # the first 16 items are not in its share
            monkeypatch.setattr("recipes.queue.finder._QUICK_SECONDS", float(SECONDS))
            while not finder._spare:
                assert await finder.claim(8, hand_out=0)
            await queue.put(b"high", priority=1)
            await finder._client.sync()
            monkeypatch.setattr("recipes.queue.finder._QUICK_SECONDS", 0.0)
            assert await finder.wait(8, hand_out=0) == []  # the next item is in the share of the other one
            monkeypatch.setattr("recipes.queue.finder._QUICK_SECONDS", float(SECONDS))
            assert [found.value for found in await finder.wait(8, hand_out=1)] == [b"high"]


@pytest.mark.parametrize("on_hand", [1, 4])
async def test_a_stream_takes_from_the_share_of_another_one_once_it_has_no_more_work(hosts, root, on_hand):
    """Also if its blocks, of which it may have so many, were busy when it found nothing in its own share."""
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as idle, connect(hosts) as client:
            queue = Queue(client, root)
            await queue.put_many([b"%d" % number for number in range(64)])
            async with Queue(idle, root).consume(concurrency=4, prefetch=4) as stuck:  # nobody asks for its messages
                await until(lambda: _is(stuck._ready and stuck._claimed))
                seen, enough = set(), anyio.Event()
                async with queue.consume(concurrency=on_hand, prefetch=100) as messages:

                    async def work():
                        async for message in messages:
                            async with message:
                                await enough.wait()
                                seen.add(message.data)

                    async with anyio.create_task_group() as tasks:
                        for _ in range(on_hand):
                            tasks.start_soon(work)
                        await until(lambda: _is(messages._has_enough))
                        claimed = (await queue.counts())[2]
                        assert 8 + 16 <= claimed < 64
                        enough.set()
                        await until(lambda: _is(len(seen) == 56))
                        tasks.cancel_scope.cancel()


async def test_a_stream_looks_ahead_so_that_quick_claims_need_not_wait_for_a_look(hosts, root, monkeypatch):
    monkeypatch.setattr("recipes.queue.finder._QUICK_SECONDS", float(SECONDS))
    steps = []

    def note(name):
        original = getattr(Finder, name)

        async def noted(self, *arguments):
            result = await original(self, *arguments)
            steps.append(name)
            return result

        monkeypatch.setattr(Finder, name, noted)

    for name in ("_look", "look_ahead", "_take"):
        note(name)
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other, connect(hosts) as client:
            queue = Queue(client, root)
            await queue.put_many([b"%d" % number for number in range(512)])
            Queue(other, root)._parts().finder._presence.enter()
            await other.sync()
            # It claims 32, looks ahead once a quarter of 28 is handed out, and claims again when it is a half.
            async with queue.consume(concurrency=4, prefetch=28) as messages:
                await until(lambda: _is(len(steps) == 2))
                for count, expected in ((7, ["_look", "look_ahead"]), (7, ["_take"]), (14, ["_take"]), (14, ["_take"])):
                    before, length = len(steps), len(steps) + len(expected)
                    for _ in range(count):
                        async with await anext(messages):
                            pass
                    await until(lambda length=length: _is(len(steps) >= length))
                    assert steps[before:] == expected


async def test_a_single_consumer_sees_the_order_and_a_higher_priority_at_its_next_claim(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        await queue.put_many([b"%d" % number for number in range(200)])
        seen = []
        async with queue.consume(concurrency=1, prefetch=8) as messages:
            async for message in messages:
                async with message:
                    seen.append(int(message.data))
                if len(seen) == 20:
                    await queue.put(b"1000", priority=1)
                if len(seen) == 201:
                    break
        assert 1000 in seen[20:30]
        assert [number for number in seen if number < 1000] == list(range(200))


async def test_a_higher_priority_goes_first_also_from_the_share_of_one_that_takes_nothing(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as idle, connect(hosts) as client:
            queue = Queue(client, root)
            await queue.put_many([b"%d" % number for number in range(100, 200)])
            async with Queue(idle, root).consume(concurrency=4, prefetch=4) as stuck:
                await until(lambda: _is(stuck._ready and stuck._claimed))
                await queue.put_many([b"%d" % number for number in range(32)], priority=1)
                finder = queue._parts().finder
                await queue.size()
                with finder.consuming(32):
                    await client.sync()
                    claimed = [int(each.value) for _ in range(2) for each in await finder.claim(32, hand_out=0)]
            assert sorted(claimed[:32]) == list(range(32))


async def test_a_consumer_is_among_the_clients_while_it_consumes_many_items(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        async with queue.consume(concurrency=4, prefetch=3):
            await client.sync()
            assert await present(client, root) == []
        async with queue.consume(concurrency=4, prefetch=4):
            await until(lambda: _has(client, root, 1))
            async with queue.consume(concurrency=8):
                await until(lambda: _has(client, root, 1))
            (own,) = await present(client, root)
            await client.delete(f"{root}/clients/{own}")  # by hand; its next look brings it back
            await queue.put(b"x")
            await until(lambda: _has(client, root, 1))
        await until(lambda: _has(client, root, 0))


async def _is(value):
    return bool(value)


async def _has(client, root, count):
    return len(await present(client, root)) == count
