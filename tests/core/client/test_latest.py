"""`latest=True`: a read of what was committed before it began, in one round trip."""

import anyio
import pytest

from recipes import NoNode, SessionExpired, ThrottledOp, connect
from recipes.core.jute import opcodes as op
from recipes.testing.expire import expire_session
from tests.core.client.scripted import SECONDS, scripted

pytestmark = pytest.mark.anyio


async def test_it_reads_what_a_plain_read_does(hosts, root):
    async with connect(hosts) as writer, connect(hosts) as reader:
        for number in range(5):
            data = b"%d" % number
            await (writer.set(root, data) if number else writer.create(root, data))
            assert (await reader.get(root, latest=True))[0] == data
            await writer.create(f"{root}/{number:02d}")
            assert len(await reader.children(root, latest=True)) == number + 1
            assert (await reader.exists(f"{root}/{number:02d}", latest=True)) is not None
        assert await reader.exists(f"{root}/none", latest=True) is None
        with pytest.raises(NoNode, match=f"{root}/none"):
            await reader.get(f"{root}/none", latest=True)
        with pytest.raises(NoNode):
            await reader.children(f"{root}/none", latest=True)


async def test_the_sync_goes_ahead_of_the_read_and_is_not_waited_for():
    async with scripted(timeout_ms=10_000) as server, connect(server.hosts) as client:
        server.answers = False
        async with anyio.create_task_group() as tasks:
            for read in (client.get, client.exists, client.children):
                tasks.start_soon(lambda read=read: read("/a", latest=True))
            await server.until(lambda: len([each for each in server.opcodes if each != op.PING]) == 6)
            tasks.cancel_scope.cancel()
        sent = [each for each in server.opcodes if each != op.PING]
        assert sent[::2] == [op.SYNC] * 3
        assert sorted(sent[1::2]) == sorted([op.GET_DATA, op.EXISTS, op.GET_CHILDREN])


async def test_what_the_sync_is_refused_with_is_raised():
    async with scripted(timeout_ms=10_000, errors={op.SYNC: ThrottledOp.code}) as server:
        async with connect(server.hosts) as client:
            with anyio.fail_after(SECONDS), pytest.raises(ThrottledOp):
                await client.exists("/a", latest=True)


async def test_a_session_that_is_over_is_told(our_server, root):
    async with connect(our_server.hosts) as client:
        await expire_session(client, our_server.hosts)
        with anyio.fail_after(SECONDS), pytest.raises(SessionExpired):
            while True:
                await client.exists(root, latest=True)
