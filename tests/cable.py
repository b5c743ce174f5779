"""A connection of a client that a test can break, on asyncio and on trio."""

from contextlib import asynccontextmanager

import anyio

from recipes.core.client.connect import connect
from recipes.embedded import LoopThread
from recipes.testing.proxy import Proxy


class Cable:
    """A way to a server that a test can interrupt."""

    def __init__(self, thread, proxy):
        self._thread, self._proxy = thread, proxy

    async def _call(self, act):
        async def call():
            act()

        await anyio.to_thread.run_sync(self._thread.call, call)

    async def pull(self):
        """Break all connections, and let nothing through."""

        def act():
            self._proxy.cut(True)
            for end in list(self._proxy._ends):
                end.abort()

        await self._call(act)

    async def plug(self):
        await self._call(lambda: self._proxy.cut(False))


@asynccontextmanager
async def cabled(hosts, **options):
    """A client, made with `options`, and the cable that it is connected by."""
    thread = LoopThread("cable")
    try:
        proxy = Proxy(int(hosts.rpartition(":")[2]))
        port = thread.call(proxy.open)
        async with connect(f"127.0.0.1:{port}", **options) as client:
            cable = Cable(thread, proxy)
            try:
                yield client, cable
            finally:
                with anyio.CancelScope(shield=True):
                    await cable.plug()
        thread.call(proxy.close)
    finally:
        thread.close()
