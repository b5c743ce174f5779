"""Election on real servers: who leads, who is seen to lead, and how a term ends."""

import anyio
import pytest

from recipes.core.client.connect import connect
from recipes.core.errors import LeadershipLost
from recipes.election.election import Election

pytestmark = pytest.mark.anyio

SECONDS = 60


async def test_observe_reports_each_leader_and_the_vacancy(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two, connect(hosts) as watcher:
            seen = Election(watcher, root).observe()
            assert await anext(seen) is None
            async with Election(one, root, b"one").lead() as first:
                leader = await anext(seen)
                assert (leader.data, leader.fence, leader.path) == (b"one", first.fence, first.path)
                assert leader == await Election(two, root).leader()
            assert await anext(seen) is None
            async with Election(two, root, b"two").lead() as second:
                assert (await anext(seen)).data == b"two"
                assert second.fence > first.fence
            assert await anext(seen) is None
            await seen.aclose()
            assert await Election(watcher, root).leader() is None


async def test_resign_is_confirmed_and_the_next_in_line_leads(hosts, root):
    led = anyio.Event()

    async def lead(client):
        async with Election(client, root, b"two").lead():
            led.set()

    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two, anyio.create_task_group() as tasks:
            async with Election(one, root).lead() as term:
                tasks.start_soon(lead, two)
                await term.resign()
                assert await two.exists(term.path) is None
                await led.wait()
                assert (term.ended.is_set(), term.lost, term.why) == (True, False, "resigned")


async def test_a_term_that_somebody_ends_is_lost(hosts, root):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, connect(hosts) as operator:
            with pytest.raises(LeadershipLost, match="deleted by somebody else"):
                async with Election(client, root).lead() as term:
                    fields = f"fence={term.fence}, path={term.path!r}, session_id={term.session_id}"
                    assert repr(term) == f"Term({fields}, held)"
                    await operator.delete(term.path)
                    await anyio.sleep_forever()
            assert term.ended.is_set()
            assert await operator.children(root) == []


async def test_u15_a_term_ends_with_the_session_and_the_next_in_line_leads(hosts, root, server, wire):
    led = anyio.Event()

    async def lead(client):
        async with Election(client, root).lead():
            led.set()

    with anyio.fail_after(SECONDS):
        async with connect(hosts) as one, connect(hosts) as two, anyio.create_task_group() as tasks:
            with pytest.raises(LeadershipLost, match="the session is over"):
                async with Election(one, root).lead() as term:
                    tasks.start_soon(lead, two)
                    wire(server.port, session=(one.session.id, one.session.password)).close_session()
                    await anyio.sleep_forever()
            assert term.ended.is_set()
            await led.wait()


async def test_run_leads_again_after_its_znode_was_deleted(hosts, root):
    fences = []

    async def work(term):
        fences.append(term.fence)
        if len(fences) == 3:
            raise ValueError("enough")
        await operator.delete(term.path)
        await anyio.sleep_forever()

    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client, connect(hosts) as operator:
            with pytest.raises(ValueError, match="enough"):
                await Election(client, root).run(work)
            assert fences == sorted(set(fences))
            assert await operator.children(root) == []
