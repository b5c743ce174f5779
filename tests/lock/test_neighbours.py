"""kazoo's and Curator's own locks, semaphores and elections on the same path: theirs and ours exclude one another."""

from contextlib import AsyncExitStack

import anyio
import anyio.to_thread
import pytest

from recipes import (
    BadArguments,
    Election,
    LeaderLatch,
    Lock,
    ReadWriteLock,
    ReentrantLock,
    Semaphore,
    SettingsDiffer,
    connect,
)
from tests.lock.neighbours import Curator, Kazoo, curator_is_here

pytestmark = pytest.mark.anyio

SECONDS = 60
A_MOMENT = 0.3  # so long somebody is asked whether it gets in; too short a wait hides a fault, and never makes one


@pytest.fixture(scope="module")  # its threads draw random numbers, which hypothesis takes for a strategy's doing
def kazoo():
    neighbour = Kazoo()
    yield neighbour
    neighbour.close()


@pytest.fixture(scope="session")
def curator(tmp_path_factory, need_tool):
    need_tool("javac and Curator (Debian package libcurator-recipes-java)", curator_is_here())
    neighbour = Curator(tmp_path_factory.mktemp("curator"))
    yield neighbour
    neighbour.close()


@pytest.fixture(params=["asyncio", pytest.param("trio", marks=pytest.mark.thorough)])
def anyio_backend(request):
    return request.param


@pytest.fixture
def neighbour(request, naming):
    return request.getfixturevalue(naming.partition("-")[0])


@pytest.fixture
def ready(request):
    """Neighbours that are to be started are, before there is a session that would not survive it."""
    if "neighbour" in request.fixturenames:
        request.getfixturevalue("neighbour")


@pytest.fixture
async def client(hosts, ready):
    async with connect(hosts) as client:
        yield client


async def thread(call, *arguments):
    return await anyio.to_thread.run_sync(call, *arguments)


OURS = {
    "lock": lambda client, path, naming: Lock(client, path, b"ours", naming=naming).try_acquire,
    "reentrant": lambda client, path, naming: ReentrantLock(client, path, b"ours", naming=naming).try_acquire,
    "read": lambda client, path, naming: ReadWriteLock(client, path, naming=naming).try_read,
    "write": lambda client, path, naming: ReadWriteLock(client, path, naming=naming).try_write,
    "semaphore": lambda client, path, naming: Semaphore(client, path, 1, b"ours", naming=naming).try_acquire,
    "lead": lambda client, path, naming: Election(client, path, b"ours", naming=naming).try_lead,
}
# In a plain run kazoo has its turn, on asyncio. Starting Curator takes as long as some hundred tests.
QUICK = {("kazoo", "lock", "lock"), ("kazoo", "semaphore", "semaphore")}
PAIRS = [
    ("kazoo", "lock", "lock"),
    ("kazoo", "reentrant", "lock"),
    ("kazoo", "lock", "write"),
    ("kazoo", "write", "lock"),
    ("kazoo", "write", "write"),
    ("kazoo", "write", "read"),
    ("kazoo", "read", "write"),
    ("kazoo", "semaphore", "semaphore"),
    ("kazoo", "lead", "lead"),
    ("curator", "lock", "mutex"),
    ("curator", "write", "write"),
    ("curator", "write", "read"),
    ("curator", "read", "write"),
    ("curator", "semaphore", "semaphore"),
    ("curator", "lead", "selector"),
    ("curator-latch", "lead", "latch"),
]
each_library = pytest.mark.parametrize("naming", ["kazoo", pytest.param("curator", marks=pytest.mark.thorough)])
each_pair = pytest.mark.parametrize(
    ("naming", "ours", "theirs"),
    [pytest.param(*pair, id="-".join(pair), marks=[] if pair in QUICK else [pytest.mark.thorough]) for pair in PAIRS],
)


@each_pair
async def test_theirs_keeps_ours_out_and_ours_theirs(client, hosts, root, neighbour, naming, ours, theirs):
    with anyio.fail_after(SECONDS):
        enter = OURS[ours](client, root, naming)
        first, second = [await thread(neighbour.open, hosts, theirs, root) for _ in range(2)]
        assert await thread(first.acquire)
        async with enter(within=A_MOMENT) as grant:
            assert grant is None
        inside = anyio.Event()
        leave = anyio.Event()

        async def take():
            async with enter(within=SECONDS) as grant:
                assert grant is not None
                inside.set()
                await leave.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await anyio.sleep(A_MOMENT / 3)
            assert not inside.is_set()
            await thread(first.release)
            await inside.wait()
            assert not await thread(second.acquire, A_MOMENT)
            tasks.start_soon(thread, second.acquire)
            leave.set()
        await thread(second.release)


@pytest.mark.parametrize(
    ("naming", "theirs"), [("kazoo", "lock"), pytest.param("curator", "mutex", marks=pytest.mark.thorough)]
)
async def test_first_come_first_served_whosever_it_is(client, hosts, root, neighbour, naming, theirs):
    entered = []

    async def ours(number):
        async with connect(hosts) as other, Lock(other, root, naming=naming):
            entered.append(number)

    async def of_theirs(number):
        lock = await thread(neighbour.open, hosts, theirs, root)
        await thread(lock.acquire)
        entered.append(number)
        await thread(lock.release)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks, Lock(client, root, naming=naming):
            for number in range(6):
                tasks.start_soon((ours, of_theirs)[number % 2], number)
                await until_children(client, root, number + 2)
            lock = Lock(client, root, naming=naming)
            assert [each.kind for each in [*await lock.holders(), *await lock.waiters()]] == ["lock"] * 7
    assert entered == list(range(6))
    assert await client.children(root) == []


async def until_children(client, path, count):
    while len(await client.children(path)) != count:
        await anyio.sleep(0.01)


@each_library
async def test_readers_of_both_are_inside_together_and_a_downgrade_keeps_their_writers_out(
    client, hosts, root, neighbour, naming
):
    with anyio.fail_after(SECONDS):
        rw = ReadWriteLock(client, root, b"ours", naming=naming)
        reader, writer = (
            await thread(neighbour.open, hosts, "read", root),
            await thread(neighbour.open, hosts, "write", root),
        )
        async with AsyncExitStack() as stack:
            grant = await stack.enter_async_context(rw.write())
            fence = grant.fence
            await grant.downgrade()
            assert (grant.reading, grant.fence) == (True, fence)
            assert await thread(reader.acquire)
            assert not await thread(writer.acquire, A_MOMENT)
            assert [each.kind for each in await rw.holders()] == ["read", "read"]
        await thread(reader.release)
        assert await thread(writer.acquire)
        await thread(writer.release)
        assert await client.children(root) == []


@each_library
async def test_permits_are_counted_together(client, hosts, root, neighbour, naming):
    with anyio.fail_after(SECONDS):
        semaphore = Semaphore(client, root, 3, b"ours", naming=naming)
        theirs = [await thread(neighbour.open, hosts, "semaphore", root, 3) for _ in range(3)]
        assert await thread(theirs[0].acquire)
        one, two = await semaphore.acquire(), None
        assert await thread(theirs[1].acquire)
        async with connect(hosts) as other:
            async with Semaphore(other, root, 3, naming=naming).try_acquire(within=A_MOMENT) as none:
                assert none is None
        assert len(await semaphore.holders()) == 3
        assert (one.permits, [each.fence for each in await semaphore.holders()][1]) == (1, one.fence)

        async def wait():
            nonlocal two
            two = await semaphore.acquire()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            while len(await semaphore.waiters()) != 1:
                await anyio.sleep(0.01)
            await thread(theirs[0].release)
        assert not await thread(theirs[2].acquire, A_MOMENT)
        await one.release()
        assert await thread(theirs[2].acquire)
        await two.release()
        for each in theirs[1:]:
            await thread(each.release)
        assert [await semaphore.holders(), await semaphore.waiters()] == [[], []]


async def test_a_limit_that_differs_from_kazoos_is_an_error_on_both_sides(client, hosts, root, kazoo):
    with anyio.fail_after(SECONDS):
        theirs = await thread(kazoo.open, hosts, "semaphore", root, 3)
        assert await thread(theirs.acquire)
        with pytest.raises(SettingsDiffer, match="limit=3, and here with limit=2"):
            await Semaphore(client, root, 2, naming="kazoo").acquire()
        await thread(theirs.release)
        async with Semaphore(client, f"{root}-ours", 2, naming="kazoo"):
            pass
        with pytest.raises(ValueError, match="Inconsistent max leases: 2, expected: 3"):
            await thread((await thread(kazoo.open, hosts, "semaphore", f"{root}-ours", 3)).acquire)
        await client.create(f"{root}-other", b"something else")
        with pytest.raises(SettingsDiffer, match="expected a number, 2, and the znode holds other data"):
            await Semaphore(client, f"{root}-other", 2, naming="kazoo").acquire()


@pytest.mark.thorough
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_curators_revoker_asks_ours_and_ours_asks_curators(client, hosts, root, curator):
    with anyio.fail_after(SECONDS):
        lock = Lock(client, root, b"0123456789", naming="curator")  # as long as what Curator writes
        theirs = await thread(curator.open, hosts, "mutex", root)
        async with lock as grant:
            assert not grant.revoke_requested.is_set()
            await thread(theirs.revoke, grant.path)
            await grant.revoke_requested.wait()
            assert [each.revoke_requested for each in await lock.holders()] == [True]
        assert await thread(theirs.acquire)
        assert [each.revoke_requested for each in await lock.revoke()] == [True]
        await thread(theirs.wait_until_asked)
        await thread(theirs.release)


@pytest.mark.parametrize(("naming", "kind"), [("curator", "selector"), ("curator-latch", "latch")])
@pytest.mark.thorough
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_curator_and_ours_name_each_others_leader(client, hosts, root, curator, naming, kind):
    with anyio.fail_after(SECONDS):
        election = Election(client, root, b"ours", naming=naming)
        theirs = await thread(curator.open, hosts, kind, root)
        async with election.lead() as term:
            assert not await thread(theirs.acquire, A_MOMENT)
            assert await thread(theirs.leader) == "ours"
            leader = await election.leader()
            assert (leader.fence, leader.path) == (term.fence, term.path)
        assert await thread(theirs.acquire)
        assert (await election.leader()).data == theirs.name.encode()
        await thread(theirs.release)


@pytest.mark.thorough
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_our_latch_and_curators_take_turns(client, hosts, root, curator):
    with anyio.fail_after(SECONDS):
        theirs = await thread(curator.open, hosts, "latch", root)
        async with LeaderLatch(client, root, b"ours", naming="curator-latch") as latch:
            await latch.wait_leader()
            assert not await thread(theirs.acquire, A_MOMENT)
            assert await thread(theirs.leader) == "ours"
        assert await thread(theirs.acquire)
        async with LeaderLatch(client, root, naming="curator-latch") as latch:
            await anyio.sleep(A_MOMENT)
            assert not latch.is_leader
            await thread(theirs.release)
            await latch.wait_leader()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_kazoos_view_of_the_line_has_ours(client, hosts, root, kazoo):
    with anyio.fail_after(SECONDS):
        async with Lock(client, root, "ünser".encode(), naming="kazoo"):
            assert await thread(kazoo.client(hosts).Lock(root).contenders) == ["ünser"]
            assert (await client.exists(root)).ephemeral_owner == 0  # a container would go when it is empty
        for naming in ("curator", "curator-latch"):
            with pytest.raises(BadArguments, match="__REVOKE__"):
                Election(client, root, b"__REVOKE__", naming=naming)
