"""Lock on real servers, through a proxy that keeps one reply back and cuts the connection."""

import anyio
import anyio.abc
import pytest

from recipes.core.client.connect import connect
from recipes.lock.lock import Lock

pytestmark = pytest.mark.anyio


class Proxy:
    """Counts the replies, from the one to the session's start on, and drops the chosen one with its connection."""

    def __init__(self, port, drop):
        self.port, self.drop, self.seen = port, drop, 0

    async def serve(self, client):
        async with client, await anyio.connect_tcp("127.0.0.1", self.port) as server:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._requests, client, server, tasks.cancel_scope)
                try:
                    await self._replies(client, server)
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass
                tasks.cancel_scope.cancel()

    async def _requests(self, client, server, scope):
        try:
            async for data in client:
                await server.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        scope.cancel()

    async def _replies(self, client, server):
        data = b""
        while True:
            data += await server.receive()
            while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[:4]):
                end = 4 + int.from_bytes(data[:4])
                self.seen += 1
                if self.seen == self.drop:
                    return
                await client.send(data[:end])
                data = data[end:]


@pytest.mark.parametrize("drop", range(2, 11))
async def test_whichever_reply_is_lost_the_lock_is_held_once_and_nothing_stays(hosts, root, drop):
    parent = f"{root}/line"
    proxy = Proxy(int(hosts.rpartition(":")[2]), drop)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, proxy.serve)
        async with connect(hosts) as witness:
            with anyio.fail_after(60):
                async with connect(f"127.0.0.1:{port}") as client:
                    async with Lock(client, parent) as grant:
                        assert await witness.children(parent) == [grant.path.rpartition("/")[2]]
                    async with Lock(client, parent):
                        pass
                    while await witness.children(parent):
                        await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert proxy.seen >= drop
