"""A server for tests of the client that does what its script says, however wrong."""

import struct
from contextlib import asynccontextmanager

import anyio
import anyio.abc

from recipes.core.jute import opcodes as op

SECONDS = 30


class Scripted:
    """A server that shakes hands, and answers only while `answers` is set.

    breaks_at: paths; a request that names one of them breaks the connection, with all replies not yet sent. pongs: it
    answers pings alone. errors: the code to answer with, by opcode. first_word: what it says before anything else.
    """

    def __init__(self, *, timeout_ms=1000, breaks_at=(), pongs=False, errors=None, first_word=b"", greets=True):
        self.timeout_ms = timeout_ms
        self.breaks_at = breaks_at
        self.pongs = pongs
        self.errors = errors or {}
        self.first_word = first_word
        self.greets = greets
        self.dialled = []  # when
        self.answers = True
        self.reads = True
        self.connections = 0
        self.open = 0
        self.opcodes = []
        self.hosts = ""
        self.changed = anyio.Event()

    def note(self):
        changed, self.changed = self.changed, anyio.Event()
        changed.set()

    def hang_up(self):
        self.scope.cancel()

    async def until(self, condition):
        with anyio.fail_after(SECONDS):
            while not condition():
                await self.changed.wait()

    async def handle(self, stream):
        self.connections += 1
        self.dialled.append(anyio.current_time())
        self.open += 1
        self.note()
        try:
            with anyio.CancelScope() as self.scope:
                async with stream:
                    await self._talk(stream)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self.open -= 1
            self.note()

    async def _talk(self, stream):
        data = await stream.receive()
        while len(data) < 49 and not self.first_word:
            data += await stream.receive()
        if self.first_word:
            await stream.send(self.first_word)
            return
        if not self.greets:
            return
        body = struct.pack(">iiqi16s?", 0, self.timeout_ms, 7, 16, bytes(16), False)
        await stream.send(struct.pack(">i", len(body)) + body)
        data = data[49:]
        while True:
            replies = b""
            while len(data) >= 4 and len(data) - 4 >= (size := struct.unpack_from(">i", data)[0]):
                xid, kind = struct.unpack_from(">ii", data, 4)
                request, data = data[12 : size + 4], data[4 + size :]
                self.opcodes.append(kind)
                self.note()
                if any(path.encode() in request for path in self.breaks_at):
                    return
                if self.answers or (self.pongs and kind == op.PING):
                    replies += struct.pack(">iiqi80x", 96, xid, 1, self.errors.get(kind, 0))
            if replies:
                await stream.send(replies)
            while not self.reads:
                await self.changed.wait()
            data += await stream.receive()


@asynccontextmanager
async def scripted(*, address="127.0.0.1", port=0, **options):
    server = Scripted(**options)
    async with await anyio.create_tcp_listener(local_host=address, local_port=port) as listener:
        server.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        server.hosts = f"{address}:{server.port}"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, server.handle)
            yield server
            tasks.cancel_scope.cancel()
