"""What users of other libraries' elections reported: each test is named after entries of tests/reported.md."""

import anyio
import anyio.lowlevel
import pytest

from recipes import Election, LeadershipLost, connect
from recipes.core.client.session import ConnectionState
from recipes.election.latch import LeaderLatch
from tests.cable import cabled

pytestmark = pytest.mark.anyio

SECONDS = 60


async def until(condition):
    while not condition():
        await anyio.sleep(0.005)


async def test_p17_a_connection_that_flaps_changes_no_leader(hosts, root):
    began = []

    async def stand(client):
        async with Election(client, root).lead():
            began.append(client)

    with anyio.fail_after(SECONDS):
        async with cabled(hosts) as (client, cable), connect(hosts) as other, anyio.create_task_group() as tasks:
            async with LeaderLatch(client, root) as latch:
                term = await latch.wait_leader()
                tasks.start_soon(stand, other)
                while len(await Election(other, root).candidates()) < 2:
                    await anyio.sleep(0.005)
                for _ in range(2):
                    await cable.pull()
                    await until(lambda: client.state is ConnectionState.SUSPENDED)
                    assert latch.is_leader and began == []
                    await cable.plug()
                    await until(lambda: client.state is ConnectionState.CONNECTED)
                    await client.sync()
                assert latch.term is not None and latch.term.fence == term.fence
                assert (await other.exists(term.path)).czxid == term.fence
                assert began == []
            await until(lambda: began)


async def test_p26_an_election_goes_on_when_its_container_was_reaped_between_two_terms(store):
    removed, terms = store.remove, []

    def reap(path):
        removed(path)
        if "/e" in store.nodes and not store.names("/e"):
            removed("/e")

    async def work(term):
        terms.append(term.fence)
        if len(terms) == 3:
            raise ValueError("enough")

    store.remove = reap
    with anyio.fail_after(SECONDS), pytest.raises(ValueError, match="enough"):
        await Election(store.client(), "/e").run(work)
    assert terms == sorted(set(terms)) and len(terms) == 3


async def test_u5_of_many_workers_one_runs_the_job_at_a_time_and_each_gets_its_turn(store):
    inside, ran = [], []

    async def work(name, election):
        async with election.lead():
            inside.append(name)
            assert inside == [name]
            await anyio.sleep(0.002)
            inside.remove(name)
            ran.append(name)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            for name in range(6):
                tasks.start_soon(work, name, Election(store.client(), "/e"))
    assert sorted(ran) == list(range(6))


async def test_u46_who_leads_since_when_and_that_nobody_does_is_there_to_be_seen(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, connect(hosts) as operator:
            election = Election(operator, root)
            assert (await election.leader(), await election.candidates()) == (None, [])
            async with Election(client, root, b"host-1").lead() as term:
                (first,) = await election.candidates()
                assert (first.data, first.fence, first.session_id) == (b"host-1", term.fence, client.session_id)
                assert first.since > 1_700_000_000
                leader = await election.leader()
                assert leader is not None and leader.id == first.id
            assert await election.leader() is None


async def test_p16_a_thousand_lost_sessions_in_a_row_are_followed_by_a_thousand_terms(store, anyio_backend):
    fences, count = [], 1000 if anyio_backend == "asyncio" else 100

    async def work(term):
        fences.append(term.fence)
        client.lose_session()
        await anyio.sleep_forever()

    for _ in range(count):
        client = store.client()
        with pytest.raises(LeadershipLost):
            await Election(client, "/e").run(work)
    assert fences == sorted(set(fences)) and len(fences) == count
    assert store.names("/e") == []
    assert store.watches == []


async def test_p16_what_ends_the_loop_is_raised_where_it_was_called(store):
    async def work(term):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Election(store.client(), "/e").run(work)
    assert store.names("/e") == []


async def test_p17_a_reconnect_of_the_same_session_changes_no_leader_and_no_place(hosts, root):
    led = []

    async def stand(client, name):
        async with Election(client, root, name).lead() as term:
            led.append((name, term))
            await anyio.sleep_forever()

    async def until(condition):
        while not await condition():
            await anyio.sleep(0.01)

    with anyio.fail_after(SECONDS):
        async with connect(hosts) as other, cabled(hosts) as (client, cable), anyio.create_task_group() as tasks:

            async def line(count):
                if await other.exists(root) is None:
                    return False
                return len(await other.children(root)) == count

            for number, (who, name) in enumerate([(client, b"first"), (other, b"second"), (client, b"third")], 1):
                tasks.start_soon(stand, who, name)
                await until(lambda number=number: line(number))
            before = sorted(await other.children(root))
            for _ in range(3):
                await cable.pull()
                await cable.plug()
                await client.sync(root)
            assert sorted(await other.children(root)) == before
            assert [name for name, _ in led] == [b"first"]
            assert not led[0][1].ended.is_set()
            tasks.cancel_scope.cancel()
