"""What users of other libraries' elections reported: each test is named after entries of tests/reported.md."""

import anyio
import pytest

from recipes import Election, LeadershipLost, connect
from tests.cable import cabled

pytestmark = pytest.mark.anyio

SECONDS = 30


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
