"""Writes that share requests: each caller gets the outcome of its own write."""

from functools import partial

import anyio
import pytest

from recipes.core.client.call import Call
from recipes.core.client.multi import Multi
from recipes.core.errors import ClientClosed, ConnectionLoss, NodeExists, NoNode
from recipes.transaction.record import Decision, Record, Records
from recipes.transaction.stages import CommitProtocol
from recipes.transaction.writes import SharedWrites
from tests.queue.conftest import SECONDS

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def made(client, root):
    await client.create(root)


@pytest.fixture
def sent(monkeypatch):
    """How many operations each multi has, its checks of guards included."""
    counts = []
    start = Multi.start

    def counted(self, *args, **more):
        counts.append(self.count)
        return start(self, *args, **more)

    monkeypatch.setattr(Multi, "start", counted)
    return counts


def create(client, path):
    multi = client.multi()
    multi.create(path)
    return multi


async def all_of(*writes):
    """The outcome of each: None, or what it raised."""
    outcomes = [None] * len(writes)

    async def run(place, write):
        try:
            await write()
        except Exception as error:
            outcomes[place] = error

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            for place, write in enumerate(writes):
                group.start_soon(run, place, write)
    return outcomes


async def test_what_comes_while_one_is_under_way_goes_together(client, root, sent):
    writes = SharedWrites(client)
    names = [f"{number:02}" for number in range(40)]
    todo = [partial(writes.apply, root, create(client, f"{root}/{name}")) for name in names]
    assert await all_of(*todo) == [None] * 40
    assert await client.children(root) == names
    assert sent == [2, 33, 8]  # the guard is checked once in each


async def test_who_is_refused_is_told_and_nobody_else(client, root, sent):
    await client.create(f"{root}/3")
    writes = SharedWrites(client)
    todo = [partial(writes.apply, root, create(client, f"{root}/{number}")) for number in range(5)]
    refused = await all_of(*todo)
    assert [type(each) for each in refused] == [type(None)] * 3 + [NodeExists, type(None)]
    assert refused[3].path == f"{root}/3"
    assert await client.children(root) == list("01234")


async def test_nothing_is_written_once_the_guard_is_gone(client, root):
    writes = SharedWrites(client)
    todo = [partial(writes.apply, f"{root}/gone", create(client, f"{root}/{number}")) for number in range(3)]
    todo.append(partial(writes.apply, root, create(client, f"{root}/4")))
    refused = await all_of(*todo)
    assert [(type(each), each.path) for each in refused[:3]] == [(NoNode, f"{root}/gone")] * 3
    assert refused[3] is None
    assert await client.children(root) == ["4"]


async def test_what_is_cancelled_before_it_is_sent_is_not_written(client, root, monkeypatch):
    start, answered, go_on = Multi.start, anyio.Event(), []

    def held(self, heard=None, **more):
        """Its reply is heard when the test says so."""

        def keep(call):
            go_on.append(partial(heard, call))
            answered.set()

        return start(self, keep, **more)

    monkeypatch.setattr(Multi, "start", held)
    writes = SharedWrites(client)
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(writes.apply, root, create(client, f"{root}/1"))
            await answered.wait()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await writes.apply(root, create(client, f"{root}/2"))
            monkeypatch.undo()
            group.start_soon(writes.apply, root, create(client, f"{root}/3"))
            await anyio.lowlevel.checkpoint()
            go_on[0]()
    assert await client.children(root) == ["1", "3"]


async def test_records_whose_common_reply_is_lost_are_found_and_decided_once(client, root, monkeypatch):
    """It is told as lost, and was applied."""
    start, lost = Multi.start, []

    def lossy(self, heard=None, **more):
        if self.count < 3:
            return start(self, heard, **more)

        def unheard(call):
            lost.append(call.value.error)
            broken = Call(call.op, b"", heard=heard)
            broken.fail(ConnectionLoss(path=root, maybe_applied=True))

        return start(self, unheard, **more)

    monkeypatch.setattr(Multi, "start", lossy)
    records = Records(client, root)
    made = [Record(f"1-{number}", CommitProtocol.TWO_PHASE, ("a",), root, 10.0) for number in range(4)]
    assert await all_of(*(partial(records.write, record, root) for record in made)) == [None] * 4
    assert lost == [None]

    found = []

    async def decide(record):
        found.append(await records.decide(record, Decision.COMMIT, root))

    assert await all_of(*(partial(decide, record) for record in made)) == [None] * 4
    assert lost == [None, None]
    assert [(each.decision, each.version) for each in found] == [(Decision.COMMIT, 1)] * 4
    assert [(await client.exists(records.path(each.id))).version for each in made] == [1] * 4


async def test_all_hear_that_the_client_is_closed(hosts, root):
    from recipes import connect

    async with connect(hosts) as client:
        writes = SharedWrites(client)
    todo = [partial(writes.apply, root, create(client, f"{root}/{number}")) for number in range(3)]
    assert [type(each) for each in await all_of(*todo)] == [ClientClosed] * 3
