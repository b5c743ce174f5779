"""Streams of messages: how many are in hand, what a drain puts back, and what the end of the session does."""

import anyio
import anyio.lowlevel
import pytest

from recipes import AckLost, Queue, SessionExpired, connect
from recipes.core.jute import opcodes as op
from recipes.queue import claims
from tests.queue.conftest import SECONDS, until

pytestmark = pytest.mark.anyio


class Mine(Exception):
    pass


async def put_numbers(queue, count):
    await queue.put_many([b"%d" % number for number in range(count)])


async def end_session(wire, server, client):
    """As the servers see it: the session is over, its ephemeral znodes are gone."""
    wire(server.port, session=(client.session.id, client.session.password)).close_session()


async def test_a_stream_hands_out_in_order_and_no_more_at_once_than_it_may(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        await put_numbers(queue, 60)
        seen, inside, most = [], 0, 0
        async with queue.consume(concurrency=3, prefetch=5) as messages, anyio.create_task_group() as tasks:

            async def handle():
                nonlocal inside, most
                async for message in messages:
                    async with message:
                        seen.append(int(message.data))
                        inside += 1
                        most = max(most, inside)
                        await client.exists("/")
                        inside -= 1

            for _ in range(8):
                tasks.start_soon(handle)
            claimed = []
            while await queue.size():
                claimed.append((await queue.counts())[2])
            tasks.cancel_scope.cancel()
        assert seen == list(range(60))
        assert most == 3
        assert max(claimed) <= 3 + 5


async def test_a_stream_waits_for_items_and_its_blocks_fail_one_by_one(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root, retry_delay=0)
        seen = []
        async with queue.consume() as messages, anyio.create_task_group() as tasks:

            async def produce():
                for number in range(3):
                    await queue.put(b"%d" % number)

                    async def was_seen(number=number):
                        return len(seen) > number

                    await until(was_seen)

            tasks.start_soon(produce)
            async for message in messages:
                with anyio.CancelScope():
                    try:
                        async with message:
                            seen.append((message.data, message.attempt))
                            if message.data == b"1" and message.attempt == 1:
                                raise Mine
                    except Mine:
                        continue
                if message.data == b"2":
                    break
        assert seen == [(b"0", 1), (b"1", 1), (b"1", 2), (b"2", 1)]
        assert await queue.size() == 0


async def test_an_exception_leaves_the_stream_as_it_is(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root, retry_delay=60)
        await put_numbers(queue, 5)
        with pytest.raises(Mine):
            async with queue.consume(concurrency=2, prefetch=2) as messages:
                async for message in messages:
                    async with message:
                        raise Mine
        assert await queue.counts() == (4, 1, 0)


async def test_only_a_block_that_waits_sets_a_watch(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        await put_numbers(queue, 40)
        watched, submit = [], client._namespace.submit

        def recorded(call):
            if call.op == op.EXISTS and "/items/" in call.path:
                watched.append(call.path)
            return submit(call)

        client._namespace.submit = client._submit = recorded
        async with queue.consume(concurrency=4, prefetch=8) as messages:
            for _ in range(39):
                async with await anext(messages):
                    pass
            assert watched == []
            with pytest.raises(AckLost):
                async with await anext(messages) as message:
                    while message.path not in watched:
                        await anyio.lowlevel.checkpoint()
                    await client.delete(message.path)  # as an operator may do
                    await anyio.sleep_forever()


async def test_a_task_that_waits_gets_the_next_item_when_others_were_taken_from_those_claimed_ahead(client, root):
    """As happens at the end of a lease. One count is refused with the acknowledgement, the next one while it waits."""
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        await put_numbers(queue, 21)
        async with queue.consume(concurrency=1, prefetch=20) as messages:
            await until(lambda: _is(lambda: messages._ready and len(messages._claimed) == 20))
            async with await anext(messages) as message:
                assert message.data == b"0"
                for delivery in list(messages._claimed)[:3]:
                    await client.delete(messages._finder.claim_path(delivery))
            async with await anext(messages) as message:
                assert message.data == b"4"


async def test_a_task_that_waits_gets_the_next_item_when_others_were_taken_and_no_new_one_comes(client, root, hosts):
    """While the stream waits for more items, since it has room, its tasks are given what it has."""
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other:
            queue = Queue(client, root)
            await put_numbers(queue, 4)
            async with queue.consume(concurrency=1, prefetch=20) as messages:
                await until(lambda: _is(lambda: messages._ready and len(messages._claimed) == 3))
                async with await anext(messages) as message:
                    assert message.data == b"0"
                    native = Queue(other, root)._parts().native
                    for delivery in list(messages._claimed)[:2]:
                        multi = other.multi()
                        multi.delete(messages._finder.claim_path(delivery))
                        step = claims.claim_and_hand_out
                        multi.extend(native.buckets.step(delivery.bucket, delivery.item, step, native.who))
                        assert (await multi.start().result()).error is None
                async with await anext(messages) as message:
                    assert message.data == b"3"


async def test_an_item_whose_count_was_refused_goes_back_although_the_stream_waits_for_more(client, root, hosts):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other:
            queue = Queue(client, root)
            await put_numbers(queue, 3)
            async with queue.consume(concurrency=1, prefetch=20) as messages:
                await until(lambda: _is(lambda: messages._ready and len(messages._claimed) == 2))
                async with await anext(messages):
                    buckets, delivery = Queue(other, root)._parts().native.buckets, messages._claimed[0]
                    multi = buckets.step(delivery.bucket, delivery.item, claims.hand_out)  # before our claim
                    assert (await multi.start().result()).error is None
                seen = []
                for _ in range(2):
                    async with await anext(messages) as message:
                        seen.append((message.data, message.attempt))
                assert seen == [(b"2", 1), (b"1", 2)]


async def test_a_task_that_waits_gets_the_next_item_when_the_znode_of_its_client_was_deleted(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        await put_numbers(queue, 21)
        async with queue.consume(concurrency=1, prefetch=20) as messages:
            await until(lambda: _is(lambda: messages._ready and len(messages._claimed) == 20))
            with pytest.raises(AckLost):
                async with await anext(messages):
                    await client.delete(messages._native.writer._own)  # so nobody knows what became of its last writes
            async with await anext(messages) as message:
                assert message.data in (b"1", b"2", b"3")


async def test_u20_a_drain_puts_back_at_once_and_lets_blocks_end(client, root, hosts):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        await put_numbers(queue, 10)
        ended = []
        async with queue.consume(concurrency=2, prefetch=3) as messages, anyio.create_task_group() as tasks:
            begun, go_on = [], anyio.Event()

            async def handle():
                async for message in messages:
                    async with message:
                        begun.append(message.data)
                        await go_on.wait()
                    ended.append(message.data)

            for _ in range(4):
                tasks.start_soon(handle)
            await until(lambda: _is(lambda: len(begun) == 2))
            async with anyio.create_task_group() as drains:
                drains.start_soon(messages.drain)
                # What was claimed ahead is back while the blocks still run, and nobody has lost what is in hand.
                await until(lambda: _counts(queue, (8, 0, 2)))
                go_on.set()
        assert sorted(ended) == begun == [b"0", b"1"]
        async with connect(hosts) as other, Queue(other, root).receive() as message:
            assert (message.data, message.attempt) == (b"2", 1)  # counted for a block or not at all


async def test_u20_a_drain_cancels_what_does_not_end_in_time_and_that_is_no_failure(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        await put_numbers(queue, 3)
        begun, reasons = [], []
        async with queue.consume(concurrency=2) as messages, anyio.create_task_group() as tasks:

            async def handle():
                async for message in messages:
                    async with message:
                        begun.append(message.data)
                        try:
                            await anyio.sleep_forever()
                        finally:
                            reasons.append((message.why, message.lost))

            tasks.start_soon(handle)
            tasks.start_soon(handle)
            await until(lambda: _is(lambda: len(begun) == 2))
            await messages.drain(within=0.01)
        assert reasons == [("put back by drain()", False)] * 2
        assert await queue.counts() == (3, 0, 0)
        async with queue.receive() as message:
            assert (message.data, message.attempt) == (b"0", 1)


async def test_what_cannot_be_handed_out_goes_back_from_a_stream_that_has_ended(client, root):
    """Its claim came from an older listing: meanwhile somebody else had the item, and gave it back."""
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root, retry_delay=0.001)
        await put_numbers(queue, 2)
        async with queue.receive() as first:
            with pytest.raises(Mine):
                async with queue.receive():
                    raise Mine
            await first.release()
        async with queue.consume(prefetch=1) as messages, anyio.create_task_group() as tasks:
            async for message in messages:

                async def drain(message=message):
                    await message.ended.wait()  # the next delivery is being counted
                    await messages.drain()

                async with message:
                    await until(lambda: _counts(queue, (0, 0, 2)))
                    (bucket,) = await client.children(f"{root}/items")
                    names = await client.children(f"{root}/items/{bucket}")
                    (wait,) = [name for name in names if name.startswith("w")]
                    await client.delete(f"{root}/items/{bucket}/{wait}")
                    tasks.start_soon(drain)
                    await anyio.lowlevel.checkpoint()
        assert await queue.counts() == (1, 0, 0)


async def test_what_may_or_may_not_have_been_handed_out_goes_back(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        await put_numbers(queue, 2)
        async with queue.consume(prefetch=1) as messages:
            with pytest.raises(AckLost):
                async with await anext(messages):
                    await until(lambda: _counts(queue, (0, 0, 2)))
                    (own,) = await client.children(f"{root}/clients")
                    await client.delete(f"{root}/clients/{own}")  # without it, nobody knows what was applied
        seen = []
        for _ in range(2):
            async with queue.receive() as message:
                seen.append((message.data, message.attempt))
        assert sorted(seen) == [(b"0", 2), (b"1", 1)]


async def test_a_message_that_nobody_begins_goes_back(client, root):
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        await put_numbers(queue, 2)
        async with queue.consume(concurrency=2) as messages:
            async for message in messages:
                assert message.data == b"0"
                break
        async with queue.receive() as message:
            assert (message.data, message.attempt) == (b"0", 1)


async def test_u17_u18_the_end_of_the_session_gives_back_what_it_had_and_is_told(hosts, root, server, wire):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as witness:
            queue = Queue(witness, root)
            await put_numbers(queue, 6)
            told = []
            async with connect(hosts) as client:

                async def handle(messages):
                    try:
                        async for message in messages:
                            async with message:
                                told.append(message)
                                await anyio.sleep_forever()
                    except AckLost:
                        assert message.ended.is_set() and message.lost
                    except SessionExpired:
                        pass

                with pytest.raises(SessionExpired):
                    async with Queue(client, root).consume(concurrency=2, prefetch=2) as messages:
                        async with anyio.create_task_group() as tasks:
                            tasks.start_soon(handle, messages)
                            tasks.start_soon(handle, messages)
                            await until(lambda: _counts(queue, (2, 0, 4)))
                            await until(lambda: _is(lambda: len(told) == 2))
                            await end_session(wire, server, client)
                        await anext(messages)
            assert len(told) == 2
            assert await queue.counts() == (6, 0, 0)
            attempts = []
            for _ in range(6):
                async with queue.receive() as message:
                    attempts.append((message.data, message.attempt))
            # In hand counts, claimed ahead does not.
            assert attempts == [(b"%d" % number, 2 if number < 2 else 1) for number in range(6)]


async def test_the_session_ends_while_waiting_and_while_acknowledging(hosts, root, server, wire):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as witness:
            queue = Queue(witness, root)
            async with connect(hosts) as client, anyio.create_task_group() as tasks:

                async def wait():
                    with pytest.raises(SessionExpired):
                        async with Queue(client, root).receive():
                            pytest.fail("there was nothing")

                tasks.start_soon(wait)
                await until(lambda: _has_children(witness, f"{root}/waiting"))
                await end_session(wire, server, client)
            await queue.put(b"x")
            async with connect(hosts) as client:
                with pytest.raises(AckLost):
                    async with Queue(client, root).receive() as message:
                        with anyio.CancelScope(shield=True):
                            await end_session(wire, server, client)
                            await until(lambda: _is(message.ended.is_set))
            async with queue.receive() as message:
                assert (message.data, message.attempt) == (b"x", 2)
                assert await queue.counts() == (0, 0, 1)


async def test_p21_one_put_wakes_one_of_those_that_wait(hosts, root):
    """One watch in all: the others stand in line, each behind another one's znode."""
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, anyio.create_task_group() as tasks:
            queue = Queue(client, root)
            got = []
            clients = [connect(hosts) for _ in range(4)]
            for each in clients:
                await each.__aenter__()

            async def take(own):
                async with Queue(own, root).receive() as message:
                    data = message.data
                got.append(data)  # behind the acknowledgement, which a client that closes would cut short

            for own in clients:
                tasks.start_soon(take, own)

            async def all_wait():
                line = await client.children(f"{root}/waiting") if await client.exists(f"{root}/waiting") else []
                return len(line) == 4

            await until(all_wait)
            await until(lambda: _is(lambda: sum(bool(own.session.watches["recursive"]) for own in clients) == 1))
            await put_numbers(queue, 4)
            await until(lambda: _is(lambda: len(got) == 4))
            for each in clients:
                await each.__aexit__(None, None, None)
        assert sorted(got) == [b"0", b"1", b"2", b"3"]


async def test_p21_memory_stays_flat_over_many_items(our_server, root):
    """No watch, scope, claim or message is left behind by an item."""
    with anyio.fail_after(SECONDS * 2):
        async with connect(our_server.hosts) as client:
            queue = Queue(client, root)

            async def pass_through(count):
                await put_numbers(queue, count)
                left = count
                async with queue.consume(concurrency=4, prefetch=16) as messages, anyio.create_task_group() as tasks:

                    async def handle():
                        nonlocal left
                        async for message in messages:
                            async with message:
                                pass
                            left -= 1
                            if not left:
                                tasks.cancel_scope.cancel()

                    for _ in range(4):
                        tasks.start_soon(handle)

            def held():
                session, writer = client.session, queue._parts().native.writer
                watches = sum(len(paths) for paths in session.watches.values())
                return watches, len(session.scopes), len(writer._waiting), len(queue._parts().finder._asleep)

            for _ in range(4):
                await pass_through(500)
                assert held() == (0, 0, 0, 0)


async def _is(ask):
    return ask()


async def _counts(queue, expected):
    return await queue.counts() == expected


async def _has_children(client, path):
    return await client.exists(path) is not None and await client.children(path) != []


async def test_what_is_claimed_in_the_moment_in_which_the_stream_ends_goes_back(client, root, monkeypatch):
    """The task that claims has its last answer, but not yet its turn, when another task drains the stream."""
    with anyio.fail_after(SECONDS):
        queue = Queue(client, root)
        await put_numbers(queue, 10)
        messages = queue.consume(concurrency=2, prefetch=3)
        bound = queue._parts().native.client
        original = bound.start_multi_read

        def start_multi_read(reads):
            call = original(reads)
            call.heard = lambda _: messages._stop()
            return call

        monkeypatch.setattr(bound, "start_multi_read", start_multi_read)
        async with messages:
            await messages._fetched.wait()
            with pytest.raises(StopAsyncIteration):
                await anext(messages)
        assert await queue.counts() == (10, 0, 0)
        async with queue.receive() as message:
            assert (message.data, message.attempt) == (b"0", 1)
