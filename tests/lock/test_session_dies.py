"""Locks and terms whose session dies at any moment: whatever the block does, its loss comes out of it."""

import anyio
import anyio.lowlevel
import pytest

from recipes.core.errors import LeadershipLost, LockLost, SessionExpired
from recipes.election.election import Election
from recipes.lock.lock import Lock

pytestmark = pytest.mark.anyio

MOMENTS = 24  # more turns of the loop than any of these takes from its first request to its last


class Mine(Exception):
    pass


async def awaits():
    for _ in range(3):
        await anyio.lowlevel.checkpoint()


async def is_silent():
    pass


async def raises():
    await awaits()
    raise Mine


async def raises_without_an_await():
    raise Mine


async def turns_its_cancellation_into_its_own():
    try:
        await awaits()
    except anyio.get_cancelled_exc_class():
        raise Mine from None


async def swallows_its_cancellation():
    try:
        await awaits()
    except anyio.get_cancelled_exc_class():
        pass


async def is_shielded():
    with anyio.CancelScope(shield=True):
        await awaits()


async def runs_tasks():
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(awaits)
        tasks.start_soon(awaits)


BLOCKS = [
    awaits,
    is_silent,
    raises,
    raises_without_an_await,
    turns_its_cancellation_into_its_own,
    swallows_its_cancellation,
    is_shielded,
    runs_tasks,
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
@pytest.mark.parametrize("recipe", ["lock", "election"])
async def test_the_session_dies_at_every_moment(store, recipe, block):
    hold = {"lock": lambda client: Lock(client, "/a"), "election": lambda client: Election(client, "/a").lead()}[recipe]
    loss = {"lock": LockLost, "election": LeadershipLost}[recipe]
    natural = "raised" if block in (raises, raises_without_an_await) else "ended"
    seen = set()
    live = None  # what the first holder has in hand
    outcome = None

    async def work(client):
        nonlocal live, outcome
        dead = client.session.lost
        try:
            async with hold(client) as live:
                await block()
        except loss:
            assert live is None or live.ended.is_set()
            outcome = "lost"
        except SessionExpired:
            assert dead  # before anything was asked for
            outcome = "lost"
        except Mine:
            outcome = "raised"
        else:
            outcome = "ended"

    async def succeed():
        await anyio.lowlevel.checkpoint()  # trio starts tasks in any order: let the other ask first
        async with hold(store.client()):
            # Either the first has left its block, or it has been told.
            assert outcome is not None or live is None or live.ended.is_set(), "held by two"

    async with hold(store.client()):
        pass  # so that the parent exists
    for moment in range(MOMENTS):
        client, live, outcome = store.client(), None, None
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work, client)
                tasks.start_soon(succeed)
                for _ in range(moment):
                    await anyio.lowlevel.checkpoint()
                before = outcome
                client.lose_session()
        assert outcome == (before or "lost")
        assert before in (None, natural)
        assert store.names("/a") == []
        assert store.watches == []
        seen.add((before, live is None))
    assert (None, True) in seen  # it died on the way in,
    assert (None, False) in seen  # inside or on the way out,
    assert (natural, False) in seen  # and after all was over


async def test_loss_during_release_surfaces(store):
    client = store.client()

    async def delete_and_die(path):
        under_way = client._start("delete", path, lambda: None)
        client.lose_session()
        await under_way.result()

    client.delete = delete_and_die
    with pytest.raises(LockLost):
        async with Lock(client, "/a"):
            pass
