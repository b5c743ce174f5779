"""Recipes that run for long go on when their client's session is lost, on our server, on asyncio and on trio."""

import logging
from contextlib import aclosing

import anyio
import pytest

from recipes import (
    AckLost,
    ChildrenCache,
    ClientClosed,
    Counter,
    DoubleBarrier,
    Election,
    Group,
    LeadershipLost,
    NodeCache,
    Queue,
    SessionExpired,
    TreeCache,
    blocking,
    connect,
)
from recipes.testing import expire_session

pytestmark = pytest.mark.anyio
SECONDS = 60


async def until(condition):
    with anyio.fail_after(SECONDS):
        while not condition():
            await anyio.sleep(0.005)


@pytest.fixture
def hosts(our_server):
    return our_server.hosts


async def test_u15_an_election_runs_on_in_the_next_session(hosts, root, caplog):
    caplog.set_level(logging.INFO, "recipes.election")
    terms = []

    async def lead(term):
        terms.append(term)
        await anyio.sleep_forever()

    async with connect(hosts, renew=True) as client, anyio.create_task_group() as tasks:
        election = Election(client, root, data=b"me")
        tasks.start_soon(election.run, lead)
        for losses in (1, 2):
            await until(lambda: len(terms) == losses)  # noqa: B023
            assert not terms[-1].ended.is_set()
            await expire_session(client, hosts)
            await until(lambda: len(terms) == losses + 1)  # noqa: B023
            assert (terms[-2].ended.is_set(), terms[-2].lost) == (True, True)
            assert terms[-1].fence > terms[-2].fence
            assert terms[-1].session_id == client.session_id != terms[-2].session_id
        assert election.losses == 2
        assert [member.data for member in await election.candidates()] == [b"me"]
        tasks.cancel_scope.cancel()
    lines = [each.getMessage() for each in caplog.records if each.name == "recipes.election"]
    assert len(lines) == 2
    assert all(f"the election {root} was interrupted and continues" in line for line in lines)


async def test_what_the_work_of_an_election_raises_comes_out_after_a_loss_too(hosts, root):
    async def fail(term):
        if election.losses:
            raise SessionExpired("of another client")
        await expire_session(client, hosts)
        await anyio.sleep_forever()

    async with connect(hosts, renew=True) as client:
        election = Election(client, root)
        with anyio.fail_after(SECONDS), pytest.raises(SessionExpired, match="of another client"):
            await election.run(fail)


async def test_an_election_ends_with_its_client(hosts, root):
    errors, led = [], anyio.Event()

    async def lead(term):
        led.set()
        await anyio.sleep_forever()

    async def run(client):
        try:
            await Election(client, root).run(lead)
        except (LeadershipLost, ClientClosed) as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        async with connect(hosts, renew=True) as client:
            tasks.start_soon(run, client)
            with anyio.fail_after(SECONDS):
                await led.wait()
    assert len(errors) == 1


@pytest.mark.parametrize("prefetch", [0, 3])
async def test_u17_a_consumer_goes_on_and_loses_nothing(hosts, root, prefetch, caplog):
    caplog.set_level(logging.INFO, "recipes.queue")
    done, lost, held = set(), [], anyio.Event()
    async with connect(hosts, renew=True) as client, connect(hosts) as other:
        queue = Queue(client, root)
        await Queue(other, root).put_many([b"%d" % number for number in range(6)])

        async def work(messages):
            async for message in messages:
                try:
                    async with message:
                        if not messages.losses and not lost:
                            held.set()
                            await anyio.sleep_forever()
                except AckLost as error:
                    lost.append(error)
                else:
                    done.add(message.data)

        async with queue.consume(concurrency=2, prefetch=prefetch) as messages, anyio.create_task_group() as tasks:
            tasks.start_soon(work, messages)
            tasks.start_soon(work, messages)
            with anyio.fail_after(SECONDS):
                await held.wait()
            for losses in (1, 2):
                await expire_session(client, hosts)
                await until(lambda: messages.losses == losses)  # noqa: B023
                await until(lambda: len(done) == 5 + losses)  # noqa: B023
                if losses == 1:
                    await Queue(other, root).put(b"more")
            await messages.drain()
        assert lost
        assert await queue.size() == 0
        assert queue._parts().native.client is client.bound
        await queue.put(b"x")  # and so do single calls
        async with queue.receive() as message:
            assert message.data == b"x"
    lines = [each.getMessage() for each in caplog.records if each.name == "recipes.queue"]
    assert len([line for line in lines if "continues in session" in line]) == 2


async def test_a_consumer_with_all_in_hand_hears_of_the_loss(hosts, root):
    """Nothing is under way then that could fail."""
    async with connect(hosts, renew=True) as client:
        queue = Queue(client, root)
        await queue.put_many([b"1", b"2", b"3"])
        async with queue.consume(concurrency=1, prefetch=1) as messages:
            with anyio.fail_after(SECONDS), pytest.raises(AckLost):
                async with await anext(messages) as message:
                    await until(lambda: messages._claimed)
                    await expire_session(client, hosts)
                    await anyio.sleep_forever()
            got = []
            with anyio.fail_after(SECONDS):
                while len(got) < 3:
                    async with await anext(messages) as again:
                        got.append(again.data)
            assert got == [b"1", b"2", b"3"]
            assert message.lost


async def test_a_consumer_drains_while_it_has_no_session(hosts, root):
    async with connect(hosts, renew=True) as client:
        queue = Queue(client, root)
        await queue.put(b"1")
        async with queue.consume() as messages:
            message = await anext(messages)  # and nobody begins it
            await expire_session(client, hosts)
            await until(lambda: client.losses == 1)
            with anyio.fail_after(SECONDS):
                await messages.drain()
            with pytest.raises(StopAsyncIteration):
                await anext(messages)
        with anyio.fail_after(SECONDS):
            async with queue.receive() as again:
                assert again.data == message.data == b"1"


@pytest.mark.parametrize("kind", [NodeCache, ChildrenCache, TreeCache])
async def test_a_cache_stays_readable_and_goes_on(hosts, root, kind):
    async with connect(hosts, renew=True) as client, connect(hosts) as other:
        await other.create(root, b"1")
        await other.create(f"{root}/a", b"a")

        def content(cache):
            return cache.node.data if kind is NodeCache else {name: cache[name].data for name in cache}

        async with kind(client, root) as cache:
            before = content(cache)
            changes = cache.changes()
            await expire_session(client, hosts)
            await until(lambda: client.losses == 1)
            assert cache.error is None
            assert content(cache) == before
            await other.set(root, b"2")
            await other.set(f"{root}/a", b"b")
            with anyio.fail_after(SECONDS):
                await cache.wait_until(lambda cache: cache.losses == 1 and content(cache) != before)
                await anext(changes)
            assert (cache.state, cache.stale_since) == ("current", None)
            await other.set(root, b"3")  # and it hears of changes
            await other.set(f"{root}/a", b"c")
            seen = b"3" if kind is NodeCache else b"c"
            with anyio.fail_after(SECONDS):
                await cache.wait_until(lambda cache: seen in str(content(cache)).encode())
            watches = client.session.watches
        assert not any(watches.values())
        assert not client._state_listeners


async def test_a_cache_ends_with_a_client_that_closes_between_two_sessions(start_server, root):
    server = start_server("ours")
    async with connect(server.hosts, renew=True, session_timeout=3.0) as client:
        await client.create(root)
        async with NodeCache(client, root) as cache:
            server.kill9()
            await until(lambda: client.losses == 1)
            assert (cache.state, cache.error) == ("stale", None)
            await client.__aexit__(None, None, None)
            with pytest.raises(ClientClosed):
                await cache.wait_until(lambda cache: True)
            assert isinstance(cache.error, ClientClosed)
    assert not client._state_listeners


async def test_a_member_that_stays_joins_again_with_the_same_data(hosts, root):
    async with connect(hosts, renew=True) as client, connect(hosts) as other:
        seen = []

        async def look():
            async with aclosing(Group(other, root).watch()) as states:
                async for members in states:
                    seen.append([(each.id, each.data) for each in members])  # noqa: PERF401 - as it comes

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            async with Group(client, root).stay(b"1") as presence:
                first, fence = presence.path, presence.fence
                await until(lambda: seen and seen[-1])
                name = seen[-1][0][0]
                await expire_session(client, hosts)
                await until(lambda: presence.losses == 1)
                with anyio.fail_after(SECONDS):
                    await presence.wait_present()
                    await presence.update(b"2")
                assert presence.fence > fence
                await until(lambda: seen[-1] == [(name, b"2")])
                await other.delete(presence.path)  # and when an operator takes it for dead
                await until(lambda: presence.path not in ("", first) and presence.present)
                await until(lambda: seen[-1] == [(name, b"2")])
            await until(lambda: not seen[-1])
            tasks.cancel_scope.cancel()
        assert presence.path == ""
        assert not client._state_listeners


async def test_counters_and_barriers_are_of_the_session_they_are_used_in(hosts, root):
    async with connect(hosts, renew=True) as client:
        counter, barrier = Counter(client, f"{root}/count"), DoubleBarrier(client, f"{root}/rounds", 1)
        await counter.add(1)
        number = client.session_id
        with pytest.raises(SessionExpired):
            async with barrier as round:
                await expire_session(client, hosts)
                with anyio.fail_after(SECONDS):
                    await client.outlive(number)
        assert round.broken.is_set()
        assert await counter.add(1) == (1, 2)
        with anyio.fail_after(SECONDS):
            async with DoubleBarrier(client, f"{root}/others", 1) as after:
                assert after.number == 1


async def test_threads_outlive_it_too(hosts, root):
    def work():
        with blocking.connect(hosts, renew=True) as client:
            fences = []

            def lead(term):
                fences.append(term.fence)
                if len(fences) == 2:
                    raise StopIteration
                client.portal.call(lambda: expire_session(client.of_tasks, hosts))
                assert term.ended.wait(SECONDS)

            election = blocking.Election(client, root)
            number = client.session_id
            with pytest.raises(StopIteration):
                election.run(lead)
            assert fences[0] < fences[1]
            assert (election.losses, client.losses, client.renews) == (1, 1, True)
            assert client.outlive(number, within=SECONDS) == client.session_id
            with pytest.raises(TimeoutError):
                client.outlive(client.session_id, within=0.01)

    await anyio.to_thread.run_sync(work)
