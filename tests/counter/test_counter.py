"""Counter on real servers."""

from itertools import pairwise

import anyio
import pytest

from recipes import ConnectionLoss, Counter, MalformedValue, SessionExpired, connect
from recipes.counter import Added
from tests.queue.conftest import SECONDS, sabotaged

pytestmark = pytest.mark.anyio


async def test_add_gives_before_and_after(client, root):
    counter = Counter(client, f"{root}/deep/visits")
    with anyio.fail_after(SECONDS):
        assert await counter.get() == 0
        assert await counter.add() == (0, 1)
        assert await counter.add(5) == Added(before=1, after=6)
        assert await counter.add(-10) == (6, -4)
        assert await counter.add(0) == (-4, -4)
        assert await counter.get() == -4
        assert (await client.get(f"{root}/deep/visits"))[0] == b"-4"
        assert await counter.set(7) == -4
        assert not await counter.compare_and_set(8, 9)
        assert await counter.compare_and_set(7, 10**30)
        assert await counter.get() == 10**30


async def test_an_empty_znode_counts_from_start(client, root):
    await client.create(root)
    counter = Counter(client, root, start=100)
    with anyio.fail_after(SECONDS):
        assert await counter.get() == 100
        assert await counter.compare_and_set(100, 100)
        assert await counter.add() == (100, 101)


@pytest.mark.parametrize("data", [b"3.0", b"one", b"\x00\x00\x00\x05", b"1 2", b"9" * 5000])
async def test_foreign_data_are_named_and_stay(client, root, data):
    await client.create(root, data)
    counter = Counter(client, root)
    with anyio.fail_after(SECONDS):
        for call in (counter.get(), counter.add(), counter.set(1), counter.compare_and_set(0, 1)):
            with pytest.raises(MalformedValue) as caught:
                await call
            assert root in str(caught.value) and repr(data[:60]) in str(caught.value)
        assert (await client.get(root))[0] == data


@pytest.mark.parametrize("wrong", ["1", 1.0, True, None])
async def test_what_is_no_number_is_refused(client, root, wrong):
    counter = Counter(client, root)
    with pytest.raises(TypeError, match=f"n: expected a whole number, not {wrong!r}"):
        await counter.add(wrong)
    with pytest.raises(TypeError, match="start"):
        Counter(client, root, start=wrong)


async def test_additions_of_tasks_form_one_chain_in_few_requests(our_server, root):
    """Eight tasks of each of three clients."""
    chain = []

    async def adds(counter, n):
        chain.extend([await counter.add(n) for _ in range(10)])

    with anyio.fail_after(SECONDS):
        async with sabotaged(our_server.hosts) as (first, counted), connect(our_server.hosts) as second:
            async with connect(our_server.hosts) as third, anyio.create_task_group() as tasks:
                for client in (first, second, third):
                    for n in range(1, 9):
                        tasks.start_soon(adds, Counter(client, root), n)
            assert await Counter(second, root).get() == 3 * 10 * 36
            chain.sort()
            assert chain[0].before == 0
            assert all(one.after == other.before for one, other in pairwise(chain))
            requests = counted.requests
            async with anyio.create_task_group() as tasks:
                for n in range(1, 9):
                    tasks.start_soon(adds, Counter(first, root), n)
            assert counted.requests - requests < 40, "they were not combined"


async def test_an_undisturbed_addition_is_one_request(our_server, root):
    async with sabotaged(our_server.hosts) as (client, saboteur):
        await Counter(client, root).add()
        requests = saboteur.requests
        await Counter(client, root).add()
        assert saboteur.requests == requests + 1
        assert len(await client.children(root)) == 1


async def add_some(counter):
    assert await counter.add(5) == (0, 5)
    assert await counter.add(5) == (5, 10)
    assert await counter.compare_and_set(10, 20)
    assert not await counter.compare_and_set(10, 30)
    assert await counter.set(1) == 20
    assert await counter.get() == 1


async def test_s8_each_lost_reply_in_turn_adds_once(our_server, root):
    """kazoo's Counter reads the value that it has increased already, and adds again."""
    number = 0
    while True:
        number += 1
        with anyio.fail_after(SECONDS):
            async with sabotaged(our_server.hosts) as (client, saboteur):
                saboteur.lose_reply = number
                await add_some(Counter(client, f"{root}/{number}"))
                if not saboteur.lost:
                    break
    assert number > 8


async def test_a_lost_reply_while_others_add(our_server, root):
    """Whoever finds another value than it left cannot tell by the value whether its own addition is in it."""
    acknowledged = []

    async def adds(client):
        acknowledged.extend([await Counter(client, root).add() for _ in range(8)])

    with anyio.fail_after(SECONDS):
        async with sabotaged(our_server.hosts) as (first, saboteur), connect(our_server.hosts) as second:
            for lost in range(6):
                saboteur.lost, saboteur.lose_reply = False, saboteur.replies + 2 + lost
                async with anyio.create_task_group() as tasks:
                    for client in (first, second, first):
                        tasks.start_soon(adds, client)
                assert saboteur.lost
            assert sorted(acknowledged) == [(value, value + 1) for value in range(6 * 24)]


async def test_cancelled_at_each_request_it_adds_once_or_not(our_server, root):
    number, cancelled, value = 0, 0, 0
    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts) as witness:
            while True:
                number += 1
                async with sabotaged(our_server.hosts) as (client, saboteur):
                    counter = Counter(client, root)
                    with anyio.CancelScope() as scope:
                        saboteur.at_request[number] = scope.cancel
                        await counter.add()
                    cancelled += scope.cancelled_caught
                    before, after = await counter.add()
                    assert before in (value, value + 1) if scope.cancelled_caught else before == value + 1
                    value = after
                await witness.sync(root)
                assert await witness.children(root) == []
                if saboteur.requests < number or number == 20:
                    break
    assert cancelled >= 3


async def test_a_cancelled_task_leaves_the_others_theirs(our_server, root):
    """The one that carries out what all have asked for is cancelled while its write is under way."""
    added = []

    async def add(counter):
        added.append(await counter.add())

    with anyio.fail_after(SECONDS):
        async with sabotaged(our_server.hosts) as (client, saboteur):
            counter = Counter(client, root)
            await counter.add()
            scope = anyio.CancelScope()
            saboteur.at_request[saboteur.requests + 1] = scope.cancel
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(add, counter)
                with scope:
                    await counter.add(100)
            assert len(added) == 3
            assert await counter.get() in (4, 104)


async def test_cancelled_before_anything_is_sent_it_adds_nothing(client, root):
    counter = Counter(client, root)
    with anyio.fail_after(SECONDS):
        await counter.add()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await counter.add(100)
        assert await counter.add() == (1, 2)


async def test_u34_a_deleted_path_is_made_again(client, hosts, root):
    """Curator's counter waits for ever."""
    counter = Counter(client, root)
    with anyio.fail_after(SECONDS):
        await counter.add(5)
        async with connect(hosts) as other:
            await other.sync(root)
            for name in await other.children(root):
                await other.delete(f"{root}/{name}")
            await other.delete(root)
        assert await counter.add() == (0, 1)
        assert await counter.get() == 1


async def test_a_path_that_was_made_anew_with_the_same_version_is_noticed(client, hosts, root):
    counter = Counter(client, root)
    with anyio.fail_after(SECONDS):
        await counter.add(5)
        version = (await client.exists(root)).version
        async with connect(hosts) as other:
            await other.sync(root)
            for name in await other.children(root):
                await other.delete(f"{root}/{name}")
            await other.delete(root)
            await other.create(root, b"70")
            for _ in range(version):
                await other.set(root, b"70")
        assert await counter.add() == (70, 71)


async def test_one_value_that_is_too_large_does_not_harm_the_others(our_server, root):
    done = []

    async def add(counter, n):
        try:
            done.append(await counter.add(n))
        except Exception as error:
            done.append(type(error).__name__)

    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts, max_request_bytes=4096) as client:
            counter = Counter(client, root)
            await client.create(root, b"0")
            await counter.add()
            async with anyio.create_task_group() as tasks:
                for n in (1, 10**3980, 1):
                    tasks.start_soon(add, counter, n)
            assert done.count("BadArguments") == 1 and len(done) == 3
            assert await counter.get() == 3


async def test_a_session_that_is_over_says_so(our_server, root):
    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts) as client:
            counter = Counter(client, root)
            await counter.add()
            client.session.end(SessionExpired)
            with pytest.raises(SessionExpired):
                await counter.add()


async def test_a_connection_that_breaks_each_time_is_an_honest_error(our_server, root):
    with anyio.fail_after(SECONDS):
        async with sabotaged(our_server.hosts) as (client, saboteur):
            counter = Counter(client, root)
            await counter.add()

            class Each:
                """Equal to every number: each reply is lost."""

                def __eq__(self, other):
                    return True

                __hash__ = None

            saboteur.lose_reply = Each()
            with pytest.raises(ConnectionLoss) as caught:
                await counter.add(10)
            assert caught.value.maybe_applied
            saboteur.lose_reply = 0
            assert await counter.add() == (11, 12)


async def test_kazoo_counts_at_the_same_path(client, hosts, root):
    from kazoo.client import KazooClient

    def add_with_kazoo():
        other = KazooClient(hosts)
        other.start()
        try:
            shared = other.Counter(root)
            shared += 3
            return shared.pre_value, shared.post_value
        finally:
            other.stop()
            other.close()

    counter = Counter(client, root)
    with anyio.fail_after(SECONDS):
        assert await counter.add(4) == (0, 4)
        assert await anyio.to_thread.run_sync(add_with_kazoo) == (4, 7)
        assert await counter.add() == (7, 8)
