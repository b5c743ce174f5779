"""Each recipe with each of its replies lost, and cancelled at each of its awaits: see recipes/matrix.py.

For a recipe to come: a Scene more.
"""

import anyio
import pytest

from recipes import Election, LeaderLatch, Lock, MultiLock, ReadWriteLock, Semaphore
from recipes.core.errors import ConnectionLoss, HoldLost, LeadershipLost, SessionError
from tests.simulation.recipes.in_containers import IN_CONTAINERS
from tests.simulation.recipes.matrix import (
    Scene,
    cancel_each_await,
    lose_each_reply,
    lose_the_session_at_each_await,
    remove_containers_meanwhile,
    run_scene,
)
from tests.simulation.recipes.operations import BEYOND_LOCKS


async def lock(client):
    async with Lock(client, "/m/lock") as grant:
        await anyio.sleep(0.01)
        return grant.fence > 0


async def lock_with_a_limit(client):
    async with Lock(client, "/m/lock").try_acquire(within=5.0) as grant:
        return grant is not None and grant.fence > 0


async def try_lock(client):
    async with Lock(client, "/m/lock").try_acquire() as grant:
        return grant is not None and grant.fence > 0


async def lock_twice_unconfirmed(client):
    lock, fences = Lock(client, "/m/lock", confirm=False), []
    for _ in range(2):
        async with lock as grant:
            fences.append(grant.fence)
    return 0 < fences[0] < fences[1]


async def acquire_and_release(client):
    grant = await Lock(client, "/m/lock").acquire()
    try:
        return grant.fence > 0
    finally:
        with anyio.CancelScope(shield=True):
            await grant.release()


async def hold_for_a_while(client):
    async with Lock(client, "/m/lock"):
        await anyio.sleep(0.06)


async def lead(client):
    async with Election(client, "/m/lead").lead() as term:
        await anyio.sleep(0.01)
        return term.fence > 0


async def lead_and_resign(client):
    async with Election(client, "/m/lead").lead() as term:
        await term.resign()
        return term.ended.is_set()


async def lead_for_a_while(client):
    async with Election(client, "/m/lead").lead():
        await anyio.sleep(0.06)


async def announce(client):
    election = Election(client, "/m/lead", b"starting")
    async with election.lead() as term:
        await term.announce(b"ready")
        return (await election.leader()).data == b"ready"


async def hand_over(client):
    election = Election(client, "/m/lead")
    async with election.lead() as term:
        while len(line := await election.candidates()) < 2:
            await anyio.sleep(0.005)
        return await term.transfer(line[1]) and term.ended.is_set()


async def lead_by_turns(client):
    with anyio.move_on_after(3):
        while True:
            async with Election(client, "/m/lead").lead():
                await anyio.sleep(0.04)


async def lead_and_outweigh(client):
    async def outweigh():
        await anyio.sleep(0.04)
        async with Election(client, "/m/lead", weight=1).lead():
            await anyio.sleep(0.02)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outweigh)
        await lead_for_a_while(client)


async def lead_until_outweighed(client):
    try:
        async with Election(client, "/m/lead", min_hold=0.01).lead():
            await anyio.sleep(0.3)
    except LeadershipLost:
        pass
    return True


async def outweigh_soon(client):
    await anyio.sleep(0.05)
    async with Election(client, "/m/lead", weight=1).lead():
        await anyio.sleep(0.02)


async def latch(client):
    async with LeaderLatch(client, "/m/lead") as latch:
        term = await latch.wait_leader()
        return latch.is_leader and term.fence > 0


async def read(client):
    async with ReadWriteLock(client, "/m/rw").read() as grant:
        await anyio.sleep(0.01)
        return grant.fence > 0


async def write_and_go_on_reading(client):
    async with ReadWriteLock(client, "/m/rw").write() as grant:
        await grant.downgrade()
        return grant.reading and not grant.ended.is_set()


async def write_for_a_while(client):
    async with ReadWriteLock(client, "/m/rw").write():
        await anyio.sleep(0.06)


async def read_for_a_while(client):
    async with ReadWriteLock(client, "/m/rw").read():
        await anyio.sleep(0.06)


async def take_a_permit(client):
    async with Semaphore(client, "/m/semaphore", 2) as grant:
        await anyio.sleep(0.01)
        return grant.fence > 0


async def take_both_permits(client):
    async with Semaphore(client, "/m/semaphore", 2).try_acquire(2, within=5.0) as grant:
        return grant is not None and grant.permits == 2


async def one_permit_for_a_while(client):
    async with Semaphore(client, "/m/semaphore", 2):
        await anyio.sleep(0.06)


async def two_at_once(client):
    async with MultiLock([Lock(client, "/m/b"), Lock(client, "/m/lock")]) as grant:
        return len(grant.fences) == 2


async def take_it_guarded(client):
    async with Lock(client, "/m/lock") as grant:
        try:
            async with grant.guarded() as multi:
                multi.check("/m")
        except ConnectionLoss as error:  # of what was written nobody knows whether it was
            return error.maybe_applied
        return multi.results == [None]


def by_names_of(naming):
    """Scenes of a lock, a downgrade and a permit by the names of another library, each with somebody in front."""

    async def lock_it(client):
        async with Lock(client, "/m/lock", naming=naming) as grant:
            return grant.fence > 0

    async def lock_for_a_while(client):
        async with Lock(client, "/m/lock", naming=naming):
            await anyio.sleep(0.06)

    async def write_it(client):
        async with ReadWriteLock(client, "/m/lock", naming=naming).write() as grant:
            await grant.downgrade()
            return grant.reading and not grant.ended.is_set()

    async def permit(client):
        async with Semaphore(client, "/m/semaphore", 1, naming=naming) as grant:
            return grant.fence > 0

    async def permit_for_a_while(client):
        async with Semaphore(client, "/m/semaphore", 1, naming=naming):
            await anyio.sleep(0.06)

    return [
        Scene(f"{naming} lock, waiting", lock_it, lock_for_a_while),
        Scene(f"{naming} write, waiting, and go on reading", write_it, lock_for_a_while),
        Scene(f"{naming} permit", permit),
        Scene(f"{naming} permit, waiting", permit, permit_for_a_while),
    ]


SCENES = [
    Scene("lock", lock),
    Scene("lock, waiting", lock, hold_for_a_while),
    Scene("lock with a limit, waiting", lock_with_a_limit, hold_for_a_while),
    Scene("two in a row that nobody confirms", lock_twice_unconfirmed),
    Scene("two in a row that nobody confirms, waiting", lock_twice_unconfirmed, hold_for_a_while),
    Scene("try", try_lock),
    Scene("acquire and release", acquire_and_release),
    Scene("lead", lead),
    Scene("lead, waiting", lead, lead_for_a_while),
    Scene("resign", lead_and_resign),
]
# As many seconds again: in the default run tests/lock goes through the same in memory.
MORE = [
    Scene("read, waiting", read, write_for_a_while),
    Scene("write, waiting, and go on reading", write_and_go_on_reading, read_for_a_while),
    Scene("permit", take_a_permit),
    Scene("permits, waiting", take_both_permits, one_permit_for_a_while),
    Scene("two locks, waiting", two_at_once, hold_for_a_while),
    Scene("guarded", take_it_guarded),
    Scene("announce", announce),
    Scene("hand over", hand_over, lead_by_turns),
    Scene("give way", lead, lead_and_outweigh),
    Scene("stand down", lead_until_outweighed, outweigh_soon),
    Scene("latch", latch),
    Scene("latch, waiting", latch, lead_for_a_while),
    *by_names_of("kazoo"),
    *by_names_of("curator"),
]
in_each_scene = pytest.mark.parametrize(
    "scene",
    [
        *(pytest.param(scene, id=scene.name) for scene in SCENES),
        *(pytest.param(scene, id=scene.name, marks=pytest.mark.thorough) for scene in (*MORE, *BEYOND_LOCKS)),
    ],
)


@in_each_scene
def test_undisturbed(scene):
    outcome = run_scene(scene)
    assert (outcome.result, outcome.error, outcome.again, outcome.left) == (True, None, True, [])
    assert outcome.requests >= 2 and outcome.awaits >= 1


@in_each_scene
def test_each_reply_lost(scene):
    for number, outcome in lose_each_reply(scene):
        assert (outcome.result, outcome.error) == (True, None), (number, outcome)
        assert (outcome.again, outcome.left) == (True, []), (number, outcome)


@in_each_scene
def test_cancelled_at_each_await(scene):
    for how, number, outcome in cancel_each_await(scene):
        assert outcome.cancelled or outcome.result is True, (how, number, outcome)  # it may have been done already
        assert outcome.error is None, (how, number, outcome)
        assert (outcome.again, outcome.left) == (True, []), (how, number, outcome)
        assert outcome.took < 0.4, (how, number, outcome)


@pytest.mark.thorough  # each run waits, in its time, until a session has ended
@in_each_scene
def test_session_lost_at_each_await(scene):
    """While it waits, while it holds, and while it gives up what it holds."""
    for number, outcome in lose_the_session_at_each_await(scene):
        done = outcome.error is None and outcome.result is True  # it may have been done already
        assert done or isinstance(outcome.error, SessionError | HoldLost), (number, outcome)
        assert outcome.left == [] and not outcome.cancelled, (number, outcome)


@pytest.mark.parametrize(
    "scene",
    [
        *(pytest.param(scene, id=scene.name) for scene in SCENES),
        *(
            pytest.param(scene, id=scene.name, marks=pytest.mark.thorough)
            for scene in (*MORE, *BEYOND_LOCKS, *IN_CONTAINERS)
        ),
    ],
)
def test_containers_removed_meanwhile(scene):
    """The parents of most znodes in line are containers, which servers remove when they find them empty."""
    for where, number, outcome in remove_containers_meanwhile(scene):
        assert (outcome.result, outcome.error) == (True, None), (where, number, outcome)
        assert (outcome.again, outcome.left) == (True, []), (where, number, outcome)
