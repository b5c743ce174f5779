"""Over a real socket: no reply leaves before the sync that covers it, and the test that shows it is sharp."""

import asyncio
import gc
import threading

import pytest

from recipes.core.disk.store import Store
from recipes.core.server import flusher
from recipes.core.server import server as shell
from recipes.core.server.server import Server
from tests.core.server.test_server import config, create, frame, get, header, session
from tests.simulation.planted.turn import what_a_sync_brings_about_goes_out_before_it


class HeldSync:
    """The sync that covers a znode /held waits until it is let go."""

    def __init__(self, monkeypatch):
        self.begun, self.go = threading.Event(), threading.Event()
        append, sync = Store.append, Store.sync
        covered = []

        def append_and_look(store, entries):
            covered[:] = [entry for entry in entries if b"/held" in entry.payload]
            append(store, entries)

        def hold(store):
            if covered:
                self.begun.set()
                assert self.go.wait(60)
            sync(store)

        monkeypatch.setattr(flusher, "_INLINE_LIMIT_S", 0.0)  # in a thread
        monkeypatch.setattr(Store, "append", append_and_look)
        monkeypatch.setattr(Store, "sync", hold)


async def write_while_it_is_held(server, sync):
    """The reply to a write, on its way while its sync does not return; and another client."""
    other = await session(server)
    reader, writer = await session(server)
    writer.write(create(1, b"/held", b"x"))
    reply = asyncio.create_task(frame(reader))
    assert await asyncio.to_thread(sync.begun.wait, 60)
    return reply, other, writer


@pytest.mark.asyncio
async def test_no_reply_leaves_before_its_sync(tmp_path, monkeypatch):
    sync = HeldSync(monkeypatch)
    async with Server(config(tmp_path)) as server:
        reply, (reader, other), writer = await write_while_it_is_held(server, sync)
        for xid in range(1, 4):  # turns go on, and what a turn lets out has come by now
            other.write(get(xid, b"/"))
            await frame(reader)
        assert not reply.done()
        sync.go.set()
        async with asyncio.timeout(60):
            assert header(await reply) == (1, 0)
        for each in (writer, other):
            each.close()


@pytest.mark.asyncio
async def test_a_reply_before_its_sync_is_found(tmp_path, monkeypatch):
    what_a_sync_brings_about_goes_out_before_it(monkeypatch)
    sync = HeldSync(monkeypatch)
    async with Server(config(tmp_path)) as server:
        reply, (_, other), writer = await write_while_it_is_held(server, sync)
        async with asyncio.timeout(60):
            assert header(await reply) == (1, 0)  # while the sync goes on
        assert not sync.go.is_set()
        sync.go.set()
        for each in (writer, other):
            each.close()


def hand_over(protocol, data):
    """What the loop does with bytes from the protocol's socket."""
    protocol.get_buffer(-1)[: len(data)] = data
    protocol.buffer_updated(len(data))


@pytest.mark.asyncio
async def test_those_who_came_first_are_answered_although_more_has_arrived(tmp_path, monkeypatch):
    async with Server(config(tmp_path)) as server:
        clients = [await session(server) for _ in range(3)]
        first, second, third = server._protocols.values()
        hand_over(first, get(1, b"/"))
        hand_over(second, get(2, b"/"))
        assert first.connection.out  # what has arrived together is answered together
        monkeypatch.setattr(shell, "_LONGEST_INTAKE_NS", 0)
        hand_over(third, get(3, b"/"))
        assert not first.connection.out
        assert not second.connection.out
        assert third.connection.out
        async with asyncio.timeout(60):
            for xid, (reader, writer) in enumerate(clients, 1):
                assert header(await frame(reader)) == (xid, 0)
                writer.close()


@pytest.mark.asyncio
async def test_the_garbage_collector_looks_at_few_objects_at_a_time(tmp_path):
    async with Server(config(tmp_path)):
        young, middle, _ = gc.get_threshold()
        assert young * (middle + 1) <= 50_000  # of which 10,000 take about 1.5 ms
