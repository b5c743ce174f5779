"""A network that can be cut: TCP relays between named places, on 127.0.0.1 and without privileges.

Bytes of one connection stay in order and none is lost from the middle, as in TCP: a cut direction holds what is sent
until it is healed, the end of a connection included; or, in the other style, breaks the connections there are and
refuses new ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from contextlib import suppress

Place = Hashable
HOLD, REFUSE = "hold", "refuse"


class Network:
    """Relays, and which directions between which places are cut. Used on one event loop only."""

    def __init__(self) -> None:
        self._cut: dict[tuple[Place, Place], str] = {}
        self._healed = asyncio.Event()
        self._listeners: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.resets = 0

    async def relay(self, source: Place, target: Place, port: int, target_port: int) -> None:
        """Accept what `source` opens to `port`, and carry it to `target_port`, where `target` listens."""

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._carry(source, target, target_port, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._listeners.append(await asyncio.start_server(accepted, "127.0.0.1", port, backlog=512))

    def cut(self, sources: Iterable[Place], targets: Iterable[Place], style: str = HOLD) -> None:
        """Let nothing more pass from any of `sources` to any of `targets`; the other way is not touched."""
        targets = tuple(targets)
        for source in sources:
            for target in targets:
                if source != target:
                    self._cut[source, target] = style
                    if style == REFUSE:
                        self.reset(source, target)

    def split(self, *groups: Iterable[Place], style: str = HOLD) -> None:
        """Cut the groups off from each other, both ways."""
        sets = [tuple(group) for group in groups]
        for one in sets:
            for other in sets:
                if one is not other:
                    self.cut(one, other, style)

    def open(self, source: Place, target: Place) -> None:
        """That direction is not cut any more: what was held is delivered."""
        del self._cut[source, target]
        self._wake()

    def heal(self) -> None:
        """Nothing is cut any more."""
        self._cut.clear()
        self._wake()

    def _wake(self) -> None:
        self._healed.set()
        self._healed = asyncio.Event()

    def reset(self, one: Place, other: Place) -> None:
        """Break every connection between two places."""
        for connection in list(self._connections):
            if {connection.source, connection.target} == {one, other}:
                self.resets += 1
                connection.reset()

    async def close(self) -> None:
        """End every connection and give the ports back."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.reset()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def passable(self, source: Place, target: Place) -> None:
        """Return once that direction is open."""
        while (source, target) in self._cut:
            await self._healed.wait()

    async def _carry(
        self,
        source: Place,
        target: Place,
        target_port: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if self._cut.get((source, target)) == REFUSE or self._cut.get((target, source)) == REFUSE:
            writer.transport.abort()
            return
        connection = _Connection(source, target)
        connection.writers.append(writer)
        self._connections.add(connection)
        try:
            # To be connected takes both ways. Whoever dials believes to be: from here that cannot be prevented.
            await self.passable(source, target)
            await self.passable(target, source)
            with suppress(OSError):
                to_reader, to_writer = await asyncio.open_connection("127.0.0.1", target_port)
                connection.writers.append(to_writer)
                there = asyncio.ensure_future(self._pump(reader, to_writer, source, target))
                back = asyncio.ensure_future(self._pump(to_reader, writer, target, source))
                try:
                    await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in (there, back):
                        pump.cancel()
                    await asyncio.gather(there, back, return_exceptions=True)
        finally:
            self._connections.discard(connection)
            connection.reset()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: Place, target: Place
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self.passable(source, target)
                writer.write(data)
                await writer.drain()
        await self.passable(source, target)


class _Connection:
    """Two sockets that are one connection to those at its ends."""

    def __init__(self, source: Place, target: Place) -> None:
        self.source = source
        self.target = target
        self.writers: list[asyncio.StreamWriter] = []

    def reset(self) -> None:
        """Break it at both ends."""
        for writer in self.writers:
            writer.transport.abort()
