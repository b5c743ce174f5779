import anyio
import anyio.lowlevel
import pytest

from recipes.core.errors import LeadershipLost, SessionExpired
from recipes.election.election import Election

pytestmark = pytest.mark.anyio


async def test_leader_shows_id_data_and_fence(store):
    election = Election(store.client(), "/e", b"one")
    assert await election.leader() is None
    async with election.lead() as term:
        leader = await election.leader()
        assert (leader.data, leader.fence, leader.path) == (b"one", term.fence, term.path)
        assert leader.path.startswith(f"/e/_r_{leader.id}-lead-")
    assert await election.leader() is None


async def test_u9_resign_is_confirmed_and_no_loss(store):
    client = store.client()
    async with Election(client, "/e").lead() as term:
        await term.resign()
        assert store.names("/e") == []
        assert (term.ended.is_set(), term.lost, term.why) == (True, False, "resigned")
        await anyio.lowlevel.checkpoint()
    assert store.watches == []


@pytest.mark.parametrize("lose_request", [False, True])
async def test_p18_resign_survives_a_lost_reply(store, lose_request):
    async with Election(store.client(), "/e").lead() as term:
        store.lose_reply, store.lose_request = len(store.requests) + 1, lose_request
        with anyio.fail_after(60):
            while ("delete", term.path) not in store.requests:
                await term.resign()
        assert store.names("/e") == []


async def test_s3_losing_the_session_cancels_the_term(store):
    client = store.client()
    with pytest.raises(LeadershipLost):
        async with Election(client, "/e").lead() as term:
            assert not term.ended.is_set()
            client.lose_session()
            await anyio.sleep_forever()
    assert (term.ended.is_set(), term.lost, term.why) == (True, True, "the session is over")


async def test_p18_u46_observe_yields_each_leader_and_the_vacancy(store):
    seen = Election(store.client(), "/e").observe()
    with anyio.fail_after(60):
        assert await anext(seen) is None
        async with Election(store.client(), "/e", b"one").lead():
            assert (await anext(seen)).data == b"one"
        assert await anext(seen) is None
        async with Election(store.client(), "/e", b"two").lead():
            assert (await anext(seen)).data == b"two"
    await seen.aclose()
    assert store.watches == []


async def test_observe_sees_the_next_in_line_take_over(store):
    seen = Election(store.client(), "/e").observe()
    done = anyio.Event()

    async def lead_next():
        async with Election(store.client(), "/e", b"two").lead():
            await done.wait()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            async with Election(store.client(), "/e", b"one").lead():
                assert (await anext(seen)).data == b"one"
                tasks.start_soon(lead_next)
                while len(store.names("/e")) < 2:
                    await anyio.lowlevel.checkpoint()
            assert (await anext(seen)).data == b"two"
            done.set()
        assert await anext(seen) is None
    await seen.aclose()


async def test_p16_run_joins_again_after_a_loss(store):
    client, fences = store.client(), []

    async def work(term):
        fences.append(term.fence)
        if len(fences) == 3:
            raise ValueError("enough")
        store.remove(term.path)
        await anyio.sleep_forever()

    with pytest.raises(ValueError, match="enough"):
        await Election(client, "/e").run(work)
    assert fences == sorted(set(fences))
    assert store.names("/e") == []


async def test_s4_run_ends_with_the_session(store):
    client = store.client()

    async def work(term):
        client.lose_session()

    with anyio.fail_after(60), pytest.raises(LeadershipLost):
        await Election(client, "/e").run(work)
    with pytest.raises(SessionExpired):  # nor does it say later that it leads
        await Election(client, "/e").run(work)
    async with Election(store.client(), "/e").lead() as term:
        assert not term.ended.is_set()
