"""A queue on real servers: what goes in comes out, in order, and what a block's end does to it."""

import anyio
import pytest
from pydantic import BaseModel

from recipes import AckLost, BadArguments, Put, Queue, QueueFull, connect
from tests.queue.conftest import SECONDS, each_server_thoroughly, until

pytestmark = pytest.mark.anyio


class Mine(Exception):
    pass


async def drained(queue):
    """What is waiting, taken one by one."""
    found = []
    while True:
        async with queue.try_receive() as message:
            if message is None:
                return found
            found.append(message.data)


async def test_first_in_first_out_and_lowest_priority_first(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        for data, priority in ((b"c", 100), (b"d", 100), (b"e", 999), (b"a", 0), (b"b", 7)):
            assert await queue.put(data, priority=priority)
        await queue.put_many([b"f", b"g"], priority=999)
        assert await queue.peek(2) == [b"a", b"b"]
        assert await drained(queue) == [b"a", b"b", b"c", b"d", b"e", b"f", b"g"]
        assert await queue.size() == 0


async def test_u21_a_block_acknowledges_gives_back_or_releases(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root, retry_delay=0)
        await queue.put_many([b"first", b"second"])
        with pytest.raises(Mine):
            async with queue.receive() as message:
                assert (message.data, message.attempt, message.priority) == (b"first", 1, 100)
                assert message.fence == (await client.exists(message.path)).czxid
                raise Mine
        assert message.ended.is_set() and not message.lost
        async with queue.receive() as again:  # at its old place
            assert (again.data, again.attempt) == (b"first", 2)
            assert again.fence > message.fence
            await again.release()
            await again.release()
            assert await queue.counts() == (2, 0, 0)
        with anyio.CancelScope() as scope:
            async with queue.receive() as third:
                assert (third.data, third.attempt) == (b"first", 2)  # a release does not count
                scope.cancel()
                await anyio.sleep_forever()
        async with queue.receive() as fourth:
            assert fourth.attempt == 2  # nor does a cancellation
        assert await drained(queue) == [b"second"]


async def test_an_item_in_its_delay_blocks_nobody(client, root):
    with anyio.fail_after(SECONDS):
        for retry_delay in (3600, 0.3):
            queue = Queue(client, f"{root}/{retry_delay}", retry_delay=retry_delay)
            await queue.put(b"poison")
            with pytest.raises(Mine):
                async with queue.receive():
                    raise Mine
            if retry_delay == 3600:  # longer than any machine takes to look
                await queue.put(b"good")
                assert await queue.counts() == (1, 1, 0)
                async with queue.receive() as message:
                    assert message.data == b"good"
        async with queue.receive() as message:  # once its time has come, without a put or anything else that wakes
            assert (message.data, message.attempt) == (b"poison", 2)


async def test_s6_a_delay_is_by_the_servers_time(client, root):
    with anyio.fail_after(SECONDS):
        long = Queue(client, f"{root}/long")
        await long.put(b"later", delay=3600)  # longer than any machine takes to look
        await long.put(b"now")
        assert await long.counts() == (1, 1, 0)
        async with long.receive() as message:
            assert message.data == b"now"
        queue = Queue(client, root)
        await queue.put(b"later", delay=0.4)
        async with queue.receive() as message:
            assert message.data == b"later"
            claimed = await client.exists(message.path)
        names = await client.children(f"{root}/items")
        assert names == ["100-0000000000"] and await client.exists(f"{root}/clients") is not None
        # Both times are the server's own.
        put = await client.exists(f"{root}/items")
        assert claimed.ctime - put.ctime >= 400


async def test_what_fails_too_often_goes_to_the_dead_letters_and_back(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root, max_deliveries=2, retry_delay=0)
        await queue.put(b"poison", priority=7, key="k")
        for _ in range(2):
            with pytest.raises(Mine):
                async with queue.receive():
                    raise Mine("no good")
        assert await queue.size() == 0
        dead = queue.dead_letters
        assert await dead.reasons() == [(b"poison", "Mine: no good", 2)]
        assert not await queue.put(b"poison", key="k")  # not acknowledged yet
        async with dead.receive() as letter:
            assert (letter.reason, letter.priority, letter.data) == ("Mine: no good", 7, b"poison")
            await letter.release()
        assert await dead.redrive() == 1
        assert (await dead.size(), await queue.size()) == (0, 1)
        async with queue.receive() as message:
            assert (message.data, message.attempt, message.priority, message.reason) == (b"poison", 1, 7, "")
        assert await queue.put(b"poison", key="k")


async def test_a_dead_letter_with_a_key_is_acknowledged_and_frees_it(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root, max_deliveries=1)
        for end in ("receive", "purge"):
            assert await queue.put(b"poison", key="k")
            with pytest.raises(Mine):
                async with queue.receive():
                    raise Mine("no good")
            assert not await queue.put(b"poison", key="k")
            if end == "purge":
                assert await queue.dead_letters.purge() == 1
            else:
                async with queue.dead_letters.receive():
                    pass
            assert await queue.dead_letters.size() == 0
        assert await queue.put(b"poison", key="k")


async def test_u7_a_key_is_one_entry_until_it_is_acknowledged(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        first = await queue.put(b"one", key="job 7")
        assert first == Put(True) and first
        second = await queue.put(b"two", key="job 7")
        item = await client.exists(f"{root}/items/100-0000000000/i-0000000000")
        assert second == Put(False, item.ctime / 1000) and not second
        async with queue.receive() as message:
            assert (message.data, message.key) == (b"one", "job 7")
            assert not await queue.put(b"three", key="job 7")
        assert await queue.put(b"four", key="job 7")
        assert await queue.take() == b"four"
        assert await queue.put(b"five", key="job 7")
        assert await queue.purge() == 1
        assert await queue.put(b"six", key="job 7")
        keys = await client.children(f"{root}/keys")
        assert [await client.children(f"{root}/keys/{folder}") for folder in keys] != []


async def test_u7_a_key_that_is_free_again_by_the_time_it_is_looked_at_is_put(client, root):
    queue = Queue(client, root)
    exists = client.exists

    async def acknowledge_first(path):
        client.exists = exists
        assert await queue.take() == b"one"
        return await exists(path)

    with anyio.fail_after(SECONDS):
        await queue.put(b"one", key="job 7")
        client.exists = acknowledge_first
        assert await queue.put(b"two", key="job 7")
        assert await queue.peek(2) == [b"two"]


async def test_p22_a_queue_is_never_larger_than_its_capacity(client, root, hosts):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root, capacity=3)
        sizes = [await queue.size()]
        async with connect(hosts) as other, anyio.create_task_group() as tasks:

            async def produce(client, name):
                mine = Queue(client, root)  # the capacity is the queue's
                for number in range(5):
                    await mine.put(b"%d-%d" % (name, number))

            for name in range(4):
                tasks.start_soon(produce, (client, other)[name % 2], name)
            found = []
            while len(found) < 20:
                sizes.append(await queue.size())
                async with queue.receive() as message:
                    found.append(message.data)
        assert max(sizes) <= 3
        assert len(set(found)) == 20
        for name in range(4):  # the order of each producer
            mine = [data for data in found if data.startswith(b"%d-" % name)]
            assert mine == [b"%d-%d" % (name, number) for number in range(5)]
        await queue.put_many([b"1", b"2", b"3"])
        with pytest.raises(QueueFull, match="capacity=3"):
            await queue.put(b"4", within=0)
        with pytest.raises(QueueFull, match="never fit"):
            await queue.put_many([b"4"] * 4)
        with pytest.raises(BadArguments, match=r"capacity=4.*capacity=3"):
            await Queue(client, root, capacity=4).put(b"5")
        assert await queue.purge() == 3
        await queue.put_many([b"1", b"2", b"3"], within=0)


async def test_put_many_says_how_to_split(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        with pytest.raises(BadArguments, match=r"30 items of 3,000,030 bytes .* in calls of 6 items"):
            await queue.put_many([b"x" * 100_000] * 30)
        with pytest.raises(BadArguments, match="store it elsewhere"):
            await queue.put(b"x" * 1_100_000)
        assert await queue.size() == 0
        await queue.put_many([b"x" * 100_000] * 6)
        assert await queue.size() == 6
        assert [len(data) for data in await drained(queue)] == [100_000] * 6


class Job(BaseModel):
    number: int
    name: str = "it"


async def test_items_of_a_model(client, root):
    with anyio.fail_after(SECONDS):
        jobs = Queue[Job](client, root)
        await jobs.put(Job(number=3))
        assert await Queue(client, root).peek() == [b'{"number":3,"name":"it"}']
        async with Queue(client, root, model=Job).receive() as message:
            assert message.data == Job(number=3)
        await Queue(client, root).put(b"no job")
        await jobs.put(Job(number=4))
        async with jobs.receive() as message:  # what cannot be read blocks nobody
            assert message.data.number == 4
        ((data, reason, attempts),) = await jobs.dead_letters.reasons()
        assert (data, attempts) == (b"no job", 0) and "it cannot be read" in reason
        with pytest.raises(TypeError, match="expected bytes"):
            await Queue(client, root).put("text")


async def test_bad_arguments_are_named(client, root):
    queue = Queue(client, root)
    for wrong, text in (
        ({"priority": 1000}, "priority=1000"),
        ({"priority": -1}, "priority=-1"),
        ({"delay": -1}, "delay=-1"),
        ({"key": ""}, "key"),
    ):
        with pytest.raises((ValueError, TypeError, BadArguments), match=text):
            await queue.put(b"x", **wrong)
    for wrong in ({"max_deliveries": 0}, {"capacity": 0}, {"lease": 0}, {"retry_delay": (3, 2)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Queue(client, root, **wrong)
    with pytest.raises(ValueError, match="concurrency=0"):
        queue.consume(concurrency=0)


async def test_u19_a_claim_lives_as_long_as_its_session_and_is_not_taken_away(client, root, hosts):
    with anyio.fail_after(SECONDS):
        await Queue(client, root).put(b"long")
        async with connect(hosts) as other, Queue(client, root).receive() as message:
            async with Queue(other, root).try_receive(within=1.0) as second:
                assert second is None
            assert not message.lost


async def test_u14_a_lease_bounds_a_claim_beside_the_session(client, root, hosts):
    with anyio.fail_after(SECONDS):
        await Queue(client, root).put(b"hung")
        async with connect(hosts) as other, anyio.create_task_group() as tasks:
            queue = Queue(other, root, lease=2.0)
            fences, begun = [], anyio.current_time()

            async def take():
                async with queue.receive() as second:
                    fences.append(second.fence)
                    assert second.attempt == 2

            with pytest.raises(AckLost, match="deleted by somebody else"):
                async with Queue(client, root, lease=2.0).receive() as message:
                    fences.append(message.fence)
                    tasks.start_soon(take)
                    while anyio.current_time() < begun + 3.0:
                        await message.extend()
                        await anyio.sleep(0.05)
                    assert not message.ended.is_set()
                    await anyio.sleep_forever()
        assert fences == sorted(fences) and len(fences) == 2
        assert await Queue(client, root).size() == 0


async def test_rbq06_an_ack_without_its_claim_is_lost_and_takes_nothing_from_others(client, root, hosts):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        await queue.put(b"once")
        async with connect(hosts) as other:
            with pytest.raises(AckLost):
                async with queue.receive() as message:
                    with anyio.CancelScope(shield=True):
                        await other.delete(message.path)
                        async with Queue(other, root).receive() as second:
                            assert second.attempt == 2
                            await until(lambda: _true(message.ended.is_set))
            assert message.lost and not second.lost
            assert await queue.size() == 0


async def _true(ask):
    return ask()


async def test_u21_a_multi_of_the_callers_can_be_tied_to_the_item(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        await queue.put(b"x")
        with pytest.raises(AckLost):
            async with queue.receive() as message:
                async with client.multi() as multi:
                    message.check(multi)
                    multi.create(f"{root}-result", b"done")
                await client.delete(message.path)
                await anyio.sleep_forever()
        with pytest.raises(Exception, match="no such znode"):
            async with client.multi() as multi:
                message.check(multi)
                multi.set(f"{root}-result", b"done twice")
        assert (await client.get(f"{root}-result"))[0] == b"done"


@pytest.mark.parametrize("anyio_backend", ["asyncio", pytest.param("trio", marks=pytest.mark.thorough)])
@each_server_thoroughly
async def test_p22_many_items_are_in_buckets_and_buckets_go(client, root):
    with anyio.fail_after(4 * SECONDS):
        queue = Queue(client, root)
        for _ in range(12):
            await queue.put_many([b"x"] * 250)
        names = await client.children(f"{root}/items")
        assert len(names) == 3
        for name in names:
            assert len(await client.children(f"{root}/items/{name}")) <= 1_250
        assert await queue.size() == 3_000
        assert await queue.purge() == 3_000
        async with queue.try_receive() as message:
            assert message is None

        async def one_is_left():
            return len(await client.children(f"{root}/items")) == 1

        await until(one_is_left)
        await queue.put(b"y")
        assert await drained(queue) == [b"y"]


async def test_age_is_that_of_the_oldest_that_waits(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        assert await queue.age() == 0.0
        await queue.put(b"x")

        async def is_old():
            return await queue.age() >= 0.2

        await until(is_old)
        await queue.put(b"y", priority=3)
        assert 0.2 <= await queue.age() < SECONDS


async def fail_behind_the_look(queue, other, monkeypatch):
    """Between the next look of `queue` and its claim, the first item is handed out to `other`, and fails."""
    finder = queue._parts().finder
    original = finder._take

    async def take(found, hand_out):
        monkeypatch.setattr(finder, "_take", original)
        with pytest.raises(Mine):
            async with other.receive():
                raise Mine
        return await original(found, hand_out)

    monkeypatch.setattr(finder, "_take", take)


async def test_an_item_that_failed_elsewhere_behind_the_look_is_taken_all_the_same(client, root, hosts, monkeypatch):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as second:
            queue, other = Queue(client, root), Queue(second, root, retry_delay=0)
            await queue.put(b"once")
            await fail_behind_the_look(queue, other, monkeypatch)
            assert await queue.take() == b"once"
            assert await queue.size() == 0


async def test_a_dead_letter_that_failed_elsewhere_behind_the_look_is_not_withheld(client, root, hosts, monkeypatch):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as second:
            queue = Queue(client, root, max_deliveries=1)
            await queue.put(b"once")
            with pytest.raises(Mine):
                async with queue.receive():
                    raise Mine
            dead = queue.dead_letters
            await fail_behind_the_look(dead, Queue(second, f"{root}/dead", retry_delay=0), monkeypatch)
            assert await dead.redrive() == 1
            assert await queue.counts() == (1, 0, 0)


async def test_an_item_that_failed_elsewhere_behind_the_look_is_buried_all_the_same(client, root, hosts, monkeypatch):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as second:
            queue, other = Queue(client, root, max_deliveries=1), Queue(second, root, retry_delay=0)
            await queue.put(b"once")
            with pytest.raises(Mine):
                async with other.receive():
                    raise Mine
            await fail_behind_the_look(queue, other, monkeypatch)
            async with queue.try_receive() as message:
                assert message is None
            assert await queue.size() == 0
            assert [reason[0] for reason in await queue.dead_letters.reasons()] == [b"once"]
