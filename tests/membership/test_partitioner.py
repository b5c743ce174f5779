"""Members that divide a list: who is to have what, and that no two have one item at a time."""

import asyncio
from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as some

from recipes import BadArguments, LockLost, Partitioner, SessionExpired, connect
from recipes.membership.partitioner import divide
from recipes.testing import expire_session

SECONDS = 60
NAMES = some.sets(some.text("abcdef0123456789", min_size=1, max_size=4), max_size=12)


@given(NAMES, NAMES)
def test_each_item_is_one_member_s_and_shares_are_even(items, members):
    shares = divide(items, members)
    assert shares.keys() == members
    if members:
        assert sorted(item for share in shares.values() for item in share) == sorted(items)
        sizes = [len(share) for share in shares.values()]
        assert max(sizes) - min(sizes) <= 1
    assert divide(sorted(items, reverse=True), list(members)) == shares


def test_few_items_move_when_a_member_goes():
    items, members = [f"item-{number}" for number in range(200)], [f"member-{number}" for number in range(10)]
    before = {item: member for member, share in divide(items, members).items() for item in share}
    after = {item: member for member, share in divide(items, members[1:]).items() for item in share}
    moved = [item for item in items if before[item] not in ("member-0", after[item])]
    assert len(moved) < 80  # of 180 that might have stayed


class Bodies:
    """Who works on what, and when that was wrong."""

    def __init__(self):
        self.at_work = {}  # item -> name
        self.fences = {}
        self.wrong = []
        self.begun = 0

    def of(self, name, slow=0.0):
        async def work(partition):
            item = partition.item
            if item in self.at_work or partition.fence <= self.fences.get(item, 0):
                self.wrong.append((name, item, self.at_work.get(item)))
            self.at_work[item], self.fences[item] = name, partition.fence
            self.begun += 1
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(slow)  # work that takes time to end
                if self.at_work.get(item) == name and self.fences[item] == partition.fence:
                    del self.at_work[item]

        return work

    async def until(self, items, names):
        """Each item is worked on, by these together, in even shares."""
        with anyio.fail_after(SECONDS):
            while True:
                shares = [list(self.at_work.values()).count(name) for name in names]
                if set(self.at_work) == set(items) and sum(shares) == len(items) and max(shares) - min(shares) <= 1:
                    return
                await anyio.sleep(0.01)


@asynccontextmanager
async def running(hosts, root, items, bodies, name, **options):
    async with connect(hosts, renew=True) as client, anyio.create_task_group() as tasks:
        partitioner = Partitioner(client, root, items, **options)
        tasks.start_soon(partitioner.run, bodies.of(name, 0.02))
        yield client, partitioner
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_p23_members_come_and_go_and_lose_their_sessions(our_server, root):
    hosts, items, bodies = our_server.hosts, [f"i{number}" for number in range(7)], Bodies()
    async with running(hosts, root, items, bodies, "a") as (_, first):
        await bodies.until(items, "a")
        assert first.items == set(items)
        async with running(hosts, root, items, bodies, "b") as (b, _):
            await bodies.until(items, "ab")
            async with running(hosts, root, items, bodies, "c"):
                await bodies.until(items, "abc")
                begun = bodies.begun
                # Its servers end it at once, and not when it was not heard from: others come before it knows.
                bodies.at_work = {item: name for item, name in bodies.at_work.items() if name != "b"}
                await expire_session(b, hosts)
                with anyio.fail_after(SECONDS):
                    while bodies.begun == begun or not b.losses:
                        await anyio.sleep(0.01)
                await bodies.until(items, "abc")
            await bodies.until(items, "ab")
        await bodies.until(items, "a")
        assert first.losses == 0
    assert bodies.at_work == {}
    assert bodies.wrong == []


@pytest.mark.anyio
async def test_work_may_end_by_itself_before_its_item_moves(our_server, root):
    hosts, ended, moved = our_server.hosts, [], anyio.Event()

    async def polite(partition):
        await partition.wanted_elsewhere.wait()
        await anyio.sleep(0.05)
        ended.append(partition.item)

    async def other(partition):
        assert ended == [partition.item]
        moved.set()
        await anyio.sleep_forever()

    async with connect(hosts) as client, connect(hosts) as second, anyio.create_task_group() as tasks:
        # So many that one of them is the newcomer's for sure.
        tasks.start_soon(Partitioner(client, root, ["a", "b"], grace=SECONDS).run, polite)
        with anyio.fail_after(SECONDS):
            while len(await client.ephemerals(f"{root}/items")) < 2:
                await anyio.sleep(0.01)
        tasks.start_soon(Partitioner(second, root, ["a", "b"]).run, other)
        with anyio.fail_after(SECONDS):
            await moved.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_writes_are_applied_only_while_the_item_is_ours(our_server, root):
    had = []

    async def work(partition):
        async with partition.guarded() as multi:
            multi.create(f"{root}/first")
        had.append(partition)
        tasks.cancel_scope.cancel()

    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts) as client:
            await client.ensure_path(root)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Partitioner(client, f"{root}/shards", ["a"]).run, work)
            with pytest.raises(LockLost):
                async with had[0].guarded() as multi:
                    multi.create(f"{root}/second")
            assert await client.children(root) == ["first", "shards"]


@pytest.mark.anyio
async def test_what_work_raises_when_its_item_moves_comes_out(our_server, root):
    hosts = our_server.hosts

    async def fails_at_its_end(partition):
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError(partition.item)

    async with connect(hosts) as client, connect(hosts) as second, anyio.create_task_group() as tasks:
        first = Partitioner(client, root, ["a", "b"])

        async def join():
            while len(first.items) < 2:
                await anyio.sleep(0.01)
            await Partitioner(second, root, ["a", "b"]).run(lambda partition: anyio.sleep_forever())

        tasks.start_soon(join)
        with anyio.fail_after(SECONDS), pytest.raises(ExceptionGroup) as caught:
            await first.run(fails_at_its_end)
        assert caught.group_contains(ValueError)
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_what_work_raises_and_the_end_of_the_session_come_out(our_server, root):
    hosts = our_server.hosts

    async def fail(partition):
        raise ValueError(partition.item)

    async with connect(hosts) as client:
        with anyio.fail_after(SECONDS), pytest.raises(ExceptionGroup) as caught:
            await Partitioner(client, root, ["a"]).run(fail)
        assert caught.group_contains(ValueError, match="a")
        begun = anyio.Event()

        async def work(partition):
            begun.set()
            await anyio.sleep_forever()

        async def expire():
            await begun.wait()
            await expire_session(client, hosts)

        partitioner = Partitioner(client, root, ["a"])
        with anyio.fail_after(SECONDS), pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(expire)
                await partitioner.run(work)
        assert caught.group_contains(SessionExpired) or caught.group_contains(Exception, match="session")
        assert partitioner.items == set()


@pytest.mark.asyncio  # trio cancels scopes only, which tell a task again at each of its next awaits
async def test_a_task_that_is_cancelled_while_its_work_ends_after_an_error_is_cancelled(our_server, root):
    begun, ending, may_end, seen = anyio.Event(), anyio.Event(), anyio.Event(), []

    async def work(partition):
        if partition.item == "a":
            await begun.wait()
            raise ValueError(partition.item)
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ending.set()
            with anyio.CancelScope(shield=True):
                await may_end.wait()

    async def run(partitioner):
        try:
            await partitioner.run(work)
        except asyncio.CancelledError as cancellation:
            seen.append(cancellation.__cause__)
            raise

    with anyio.fail_after(SECONDS):
        async with connect(our_server.hosts) as client:
            partitioner = Partitioner(client, root, ["a", "b"])
            task = asyncio.create_task(run(partitioner))
            await ending.wait()
            task.cancel()
            may_end.set()
            await asyncio.wait([task])
            assert task.cancelled()
            assert [[repr(error) for error in cause.exceptions] for cause in seen] == [["ValueError('a')"]]
            assert partitioner.items == set()


def test_wrong_arguments_are_named():
    client = connect("127.0.0.1:1")
    for items in (["a/b"], [""]):
        with pytest.raises(BadArguments):
            Partitioner(client, "/p", items)
    with pytest.raises(TypeError):
        Partitioner(client, "/p", "abc")
    with pytest.raises(BadArguments):
        Partitioner(client, "/p", ["a"], grace=-1)
