"""Announcements, hand-overs, weights and latches on real servers; and a thousand elections on one session."""

import asyncio
import resource
from contextlib import AsyncExitStack

import anyio
import pytest

from recipes.core.client.connect import connect
from recipes.core.errors import ClientClosed, LeadershipLost, SessionExpired
from recipes.election.election import Election
from recipes.election.latch import LeaderLatch
from recipes.testing import expire_session
from tests.cable import cabled

pytestmark = pytest.mark.anyio

SECONDS = 60


async def in_line(client, root, count):
    while len(line := await Election(client, root).candidates()) != count:
        await anyio.sleep(0.005)
    return line


async def test_leadership_is_announced_and_handed_over_past_the_others(hosts, root):
    began = []

    async def lead(client, name, weight):
        async with Election(client, root, name, weight=weight).lead() as term:
            began.append((name, term.fence))

    with anyio.fail_after(SECONDS):
        async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            clients = [await stack.enter_async_context(connect(hosts)) for _ in range(4)]
            seen = Election(clients[0], root).observe()
            async with Election(clients[0], root, b"starting").lead() as term:
                assert (await anext(seen)).data == b"starting"
                for number, (name, weight) in enumerate([(b"b", 0), (b"c", 5), (b"d", 0)], 1):
                    tasks.start_soon(lead, clients[number], name, weight)
                    await in_line(clients[0], root, number + 1)
                await term.announce(b"ready")
                leader = await anext(seen)
                assert (leader.data, leader.fence) == (b"ready", term.fence)
                line = await in_line(clients[0], root, 4)
                assert [(each.data, each.weight) for each in line] == [(b"ready", 0), (b"b", 0), (b"c", 5), (b"d", 0)]
                assert await term.transfer(line[3]) is True
                assert (term.ended.is_set(), term.lost) == (True, False)
            await seen.aclose()
            while len(began) < 3:
                await anyio.sleep(0.005)
    assert [name for name, _ in began] == [b"d", b"c", b"b"], "the one appointed, then by weight"
    fences = [term.fence, *(fence for _, fence in began)]
    assert fences == sorted(set(fences))


async def test_a_leader_stands_down_for_a_heavier_one_once_it_has_led_for_min_hold(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two:
            with pytest.raises(LeadershipLost, match="stood down"):
                async with Election(one, root, min_hold=0.3).lead() as term:
                    heavy = LeaderLatch(two, root, weight=1)
                    heavy.start()
                    await anyio.sleep_forever()
            later = await heavy.wait_leader()
            assert later.fence > term.fence
            assert later._tenure._began - term._tenure._began >= 0.3
            await heavy.stop()
            assert await one.children(root) == []


async def test_a_latch_joins_again_after_its_znode_was_deleted_and_says_when_its_session_is_over(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two:
            latch = LeaderLatch(one, root)
            latch.start()
            first = await latch.wait_leader()
            await two.delete(first.path)
            await first.ended.wait()
            assert (await latch.wait_leader()).fence > first.fence
            async with LeaderLatch(two, root) as other:
                await expire_session(one, hosts)
                await other.wait_leader()
                while latch.is_leader:  # ended early by the server, and the word of it under way
                    await anyio.sleep(0.005)
                with pytest.raises(SessionExpired):
                    await latch.wait_leader()
            await latch.stop()


async def test_a_latch_of_a_client_that_renews_goes_on_in_the_next_session(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts, renew=True) as client, connect(hosts) as other:
            async with LeaderLatch(client, root) as latch:
                for losses in (1, 2):
                    term = await latch.wait_leader()
                    number = client.session_id
                    await expire_session(client, hosts)
                    await client.outlive(number)
                    assert term.lost
                    assert (await latch.wait_leader()).fence > term.fence
                    assert (latch.losses, client.losses) == (losses, losses)
                async with LeaderLatch(client, root) as waits:  # one that waits, too
                    await in_line(other, root, 2)
                    await expire_session(client, hosts)
                    await in_line(other, root, 2)
                    while latch.is_leader is waits.is_leader:
                        await anyio.sleep(0.005)
            assert await in_line(other, root, 0) == []


async def test_a_latch_stops_while_it_waits_for_the_next_session(our_server, root):
    with anyio.fail_after(SECONDS):
        async with cabled(our_server.hosts, session_timeout=3.0, renew=True) as (client, cable):
            latch = LeaderLatch(client, root)
            latch.start()
            await latch.wait_leader()
            await cable.pull()
            while not latch._between:
                await anyio.sleep(0.005)
            await latch.stop()
            assert [change async for change in latch.changes()] == [False]
            await cable.plug()


async def test_a_latch_is_told_first_when_its_client_closes_which_it_does_not_hold_up(our_server, root, monkeypatch):
    monkeypatch.setattr("recipes.core.client.client._CLOSING_SECONDS", 2 * SECONDS)  # it waits for what does not end
    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts) as other:
            async with connect(our_server.hosts) as client:
                leads, waits = LeaderLatch(client, root), LeaderLatch(client, root)
                leads.start()
                term = await leads.wait_leader()
                waits.start()
                await in_line(other, root, 2)
            assert (leads.is_leader, term.ended.is_set(), term.why) == (False, True, "the client was closed")
            for latch in (leads, waits):
                with pytest.raises(ClientClosed):
                    await latch.wait_leader()
                await latch.stop()
            assert await Election(other, root).candidates() == []


@pytest.mark.thorough  # two thousand znodes: seconds of processor time
async def test_a_thousand_elections_on_one_session(our_server, root, capsys):
    """One watch for each that leads, two for each that waits: its own znode, and the one in front. No other task."""
    count = 1000
    started = []
    led = anyio.Event()
    done = anyio.Event()

    async def lead(client, number):
        async with Election(client, f"{root}/{number}").lead():
            started.append(number)
            if len(started) % count == 0:
                led.set()
            await done.wait()

    def watches(client):
        return sum(len(watchers) for table in client.session.watches.values() for watchers in table.values())

    def tasks_now():
        try:
            return len(asyncio.all_tasks())
        except RuntimeError:
            return None

    with anyio.fail_after(2 * SECONDS):
        async with connect(our_server.hosts) as one, connect(our_server.hosts) as two:
            await one.ensure_path(root)
            before, began, cpu = tasks_now(), anyio.current_time(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
            async with anyio.create_task_group() as tasks:
                for number in range(count):
                    tasks.start_soon(lead, one, number)
                await led.wait()
                took = anyio.current_time() - began
                cpu = resource.getrusage(resource.RUSAGE_SELF).ru_utime - cpu
                await one.sync()
                assert watches(one) == count
                if before is not None:
                    assert tasks_now() == before + count
                for number in range(count):
                    tasks.start_soon(lead, two, number)
                while watches(two) < 2 * count:
                    await anyio.sleep(0.05)
                assert (watches(one), watches(two)) == (count, 2 * count)
                if before is not None:
                    assert tasks_now() == before + 2 * count
                done.set()
            assert watches(one) == watches(two) == 0
            async with AsyncExitStack() as stack:
                latches = [await stack.enter_async_context(LeaderLatch(one, f"{root}/{n}")) for n in range(count)]
                for latch in latches:
                    await latch.wait_leader()
                await one.sync()
                assert watches(one) == count
                if before is not None:
                    assert tasks_now() == before + count
    with capsys.disabled():
        print(f"\n{count} elections are led after {took:.2f} s, with {cpu:.2f} s of this process")  # noqa: T201
