"""LeaderLatch in memory: a candidate in the background."""

import threading

import anyio
import anyio.lowlevel
import pytest

from recipes.core.errors import BadArguments, NoAuth, SessionExpired
from recipes.election.election import Election
from recipes.election.latch import LeaderLatch

pytestmark = pytest.mark.anyio

SECONDS = 60


async def until(condition):
    with anyio.fail_after(SECONDS):
        while not condition():
            await anyio.sleep(0.001)


async def test_it_leads_and_gives_it_up_at_the_end_of_the_block(store):
    async with LeaderLatch(store.client(), "/e", b"one") as latch:
        with anyio.fail_after(SECONDS):
            term = await latch.wait_leader()
        assert latch.is_leader and latch.term.fence == term.fence
        leader = await Election(store.client(), "/e").leader()
        assert (leader.data, leader.fence) == (b"one", term.fence)
        assert repr(latch) == "<LeaderLatch '/e': leads>"
    assert (latch.is_leader, term.ended.is_set(), term.lost, term.why) == (False, True, False, "resigned")
    assert (store.names("/e"), store.watches) == ([], [])


async def test_start_and_stop_without_a_block(store):
    latch = LeaderLatch(store.client(), "/e")
    assert not latch.is_leader
    await latch.stop()
    with pytest.raises(RuntimeError, match="is not started"):
        await latch.wait_leader()
    latch.start()
    with pytest.raises(RuntimeError, match="was started already"):
        latch.start()
    await latch.wait_leader()
    await latch.stop()
    await latch.stop()
    assert (latch.is_leader, store.names("/e")) == (False, [])
    with pytest.raises(RuntimeError, match="was stopped"):
        await latch.wait_leader()


async def test_stopped_before_it_began(store):
    latch = LeaderLatch(store.client(), "/e")
    latch.start()
    with anyio.fail_after(SECONDS):
        await latch.stop()
    await anyio.sleep(0.01)
    assert store.names("/e") == []


async def test_one_of_several_leads_and_the_next_takes_over(store):
    first, second = (LeaderLatch(store.client(), "/e") for _ in range(2))
    with anyio.fail_after(SECONDS):
        async with second:
            async with first:
                while not first.is_leader and not second.is_leader:
                    await anyio.sleep(0.001)
                assert first.is_leader is not second.is_leader
                await until(lambda: len(store.names("/e")) == 2)
                leads, waits = (first, second) if first.is_leader else (second, first)
                await leads.stop()
                await waits.wait_leader()
                assert not leads.is_leader


async def test_changes_tell_of_each_and_it_joins_again_by_itself(store):
    latch = LeaderLatch(store.client(), "/e")
    seen = latch.changes()
    assert await anext(seen) is False
    latch.start()
    fences = []
    with anyio.fail_after(SECONDS):
        for _ in range(3):
            assert await anext(seen) is True
            fences.append(latch.term.fence)
            store.remove(latch.term.path)
            assert await anext(seen) is False
        await latch.wait_leader()
        await latch.stop()
        assert [change async for change in seen] in ([], [True, False])
    assert fences == sorted(set(fences))


async def test_its_term_can_be_announced_and_handed_over(store):
    with anyio.fail_after(SECONDS):
        async with LeaderLatch(store.client(), "/e", b"one") as one:
            term = await one.wait_leader()
            async with LeaderLatch(store.client(), "/e", b"two") as two:
                await until(lambda: len(store.names("/e")) == 2)
                await term.announce(b"going")
                election = Election(store.client(), "/e")
                assert [each.data for each in await election.candidates()] == [b"going", b"two"]
                (_, other) = await election.candidates()
                assert await term.transfer(other) is True
                await two.wait_leader()
                await until(lambda: len(store.names("/e")) == 2)  # it stands in line again, behind
                assert not one.is_leader


async def test_p16_a_latch_whose_session_is_lost_says_so(store, caplog):
    client = store.client()
    with anyio.fail_after(SECONDS), pytest.raises(SessionExpired):
        async with LeaderLatch(client, "/e") as latch:
            term = await latch.wait_leader()
            client.lose_session()
            assert not latch.is_leader and term.lost
            with pytest.raises(SessionExpired):
                await latch.wait_leader()
            with pytest.raises(SessionExpired):
                async for leads in latch.changes():
                    assert not leads
    assert "has failed and is no candidate any more" in caplog.text


async def test_an_error_of_the_block_comes_before_that_of_the_latch(store):
    client = store.client()
    with pytest.raises(ValueError, match="mine"):
        async with LeaderLatch(client, "/e"):
            client.lose_session()
            raise ValueError("mine")


async def test_it_leads_no_more_past_the_deadline_of_its_session_in_any_thread(store):
    client = store.client()
    async with LeaderLatch(client, "/e") as latch:
        await latch.wait_leader()
        client.session.expires_at = client.clock() - 1
        answers = []
        thread = threading.Thread(target=lambda: answers.append(latch.is_leader))
        thread.start()
        thread.join(SECONDS)
        assert answers == [False] and latch.term is None
        client.session.expires_at = float("inf")
        assert not latch.is_leader, "a reply that comes late does not bring it back"
        with anyio.fail_after(SECONDS):
            await latch.wait_leader()  # of a later term


async def test_wrong_numbers_and_a_client_that_is_over_are_refused_at_once(store):
    client = store.client()
    with pytest.raises(BadArguments, match="weight=-1"):
        LeaderLatch(client, "/e", weight=-1)
    latch = LeaderLatch(client, "/e")
    client.lose_session()
    with pytest.raises(SessionExpired):
        latch.start()


async def test_a_refusal_of_the_store_is_told(store):
    client = store.client()

    latch = LeaderLatch(client, "/e")

    def refuses(*_, **__):
        raise NoAuth("/e")

    client.start_create = refuses
    latch.start()
    with anyio.fail_after(SECONDS), pytest.raises(NoAuth):
        await latch.wait_leader()
    await latch.stop()


async def test_a_block_in_the_same_task_and_line_waits_for_the_latch(store):
    client = store.client()
    async with LeaderLatch(client, "/e") as latch:
        await latch.wait_leader()
        async with Election(client, "/e").try_lead() as term:
            assert term is None
    with anyio.fail_after(SECONDS):
        async with Election(client, "/e").lead():
            assert not latch.is_leader
