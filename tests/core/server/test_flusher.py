import asyncio
import sys
import threading
from errno import ENOSPC

import pytest

from recipes.core.disk.jobs import Look
from recipes.core.disk.replacements import Replacements
from recipes.core.disk.write_queue import WriteQueue
from recipes.core.replication import Cell, Entry, InstallSnapshot, Truncate
from recipes.core.server import flusher as module
from recipes.core.server.flusher import Flusher
from recipes.core.turn import Turn
from recipes.core.zab.epochs import epoch_cell
from tests.core.told_member import NoSnapshots, ToldMember, ToldReplica


class Log:
    def __init__(self):
        self.calls = []
        self.room = True
        self.error = self.sync_error = None
        self.attempts = 0

    def append(self, entries):
        self.attempts += 1
        if self.error is not None:
            raise self.error
        self.calls.append(("append", [entry.zxid for entry in entries]))

    def sync(self):
        if self.sync_error is not None:
            raise self.sync_error
        self.calls.append("sync")

    def reserve(self):
        return self.room

    def roll(self):
        self.calls.append("roll")

    def carry_out(self, operation):
        if self.error is not None:
            raise self.error
        self.calls.append(operation)
        return None if isinstance(operation, Cell) else f"tree {operation.zxid}"

    def close(self):
        self.calls.append("close")


class Heard:
    """Turns over a flusher, of which a test says what they put on disk. looks: how many looks for room are done."""

    def __init__(self, log, syncs=True):
        self.errors, self.looks = [], 0
        self.changed = asyncio.Event()
        self.flusher = Flusher(log, done=self._job_done, failed=self._fail)
        self.write = self.flusher.write
        self.replacements = Replacements(threading.Lock())
        self.member = ToldMember()
        self.queue = WriteQueue(self.replacements, syncs=syncs)
        self.turn = Turn(self.member, ToldReplica(), self.queue, NoSnapshots(), self, tick_ms=1000)

    @property
    def told(self):
        return self.member.told

    @property
    def flushed(self):
        return [each for each in self.told if isinstance(each, int)]

    def put(self, writes):
        self.member.decided = list(writes)
        self.turn.carry_out()

    def look_for_room(self):
        self.member.now_ms = self.turn._next_tick_ms
        self.turn.wake()
        self.told.remove("tick")

    def post(self, outbox):
        pass

    def reply(self, connections):
        pass

    def wake_at(self, now_ms):
        pass

    def log(self, text, is_error):
        pass

    def _job_done(self, job):
        self.turn.done(job)
        self.looks += isinstance(job, Look)
        self.changed.set()

    def _fail(self, error):
        self.turn.stop()
        self.errors.append(error)
        self.changed.set()

    async def until(self, holds):
        async with asyncio.timeout(60):
            while not holds():
                await self.changed.wait()
                self.changed.clear()


def entries(*zxids):
    return [Entry(zxid, b"payload") for zxid in zxids]


@pytest.mark.asyncio
async def test_a_batch_is_reported_only_after_one_sync_for_all_of_it():
    log = Log()
    heard = Heard(log)
    heard.put(entries(1, 2, 3))
    assert log.calls == [("append", [1, 2, 3]), "sync"]
    assert heard.flushed == [3]
    await heard.until(lambda: heard.looks == 1)
    heard.flusher.close()


@pytest.mark.asyncio
async def test_what_was_written_does_not_stay_in_memory_until_the_next_write(monkeypatch):
    monkeypatch.setattr(module, "_INLINE_LIMIT_S", 0.0)
    heard = Heard(Log())
    heard.put(entries(1))
    await heard.until(lambda: heard.looks == 1)
    (entry,) = entries(2)
    heard.put([entry])
    await heard.until(lambda: heard.flushed == [1, 2])
    async with asyncio.timeout(60):
        while sys.getrefcount(entry) > 2:  # the thread lets go of it a little after it has said so
            await asyncio.sleep(0)
    heard.flusher.close()


@pytest.mark.asyncio
async def test_dear_flushes_go_to_the_thread_and_what_comes_meanwhile_is_one_batch(monkeypatch):
    monkeypatch.setattr(module, "_INLINE_LIMIT_S", 0.0)
    log = Log()
    heard = Heard(log)
    heard.put(entries(1))
    heard.put(entries(2))
    heard.put(entries(3))
    assert heard.flushed == []
    await heard.until(lambda: heard.flushed == [1, 3])
    assert log.calls == [("append", [1]), "sync", ("append", [2, 3]), "sync"]
    await heard.until(lambda: heard.looks)
    heard.flusher.close()
    assert log.calls[-1] == "close"


@pytest.mark.asyncio
async def test_a_roll_comes_before_the_next_batch():
    log = Log()
    heard = Heard(log)
    heard.queue.roll()
    heard.put(entries(1))
    assert log.calls[:2] == ["roll", ("append", [1])]
    heard.flusher.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("limit_s", [1000.0, 0.0])
async def test_a_failed_write_is_reported_and_never_tried_again(monkeypatch, limit_s):
    monkeypatch.setattr(module, "_INLINE_LIMIT_S", limit_s)
    log = Log()
    heard = Heard(log)
    log.error = OSError(5, "Input/output error")
    heard.put(entries(1))
    await heard.until(lambda: heard.errors == [log.error])
    error, log.error = log.error, None
    heard.put(entries(2))
    heard.flusher.close()
    assert heard.errors == [error]
    assert heard.flushed == []
    assert log.calls == []


@pytest.mark.asyncio
async def test_missing_room_is_told_and_looked_for_again():
    log = Log()
    log.room = False
    heard = Heard(log)
    heard.put(entries(1))
    await heard.until(lambda: heard.looks == 1)
    assert heard.told == [1, "no room"]
    log.room = True
    heard.look_for_room()
    await heard.until(lambda: heard.looks == 2)
    assert heard.told == [1, "no room", "room"]
    heard.flusher.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("limit_s", [1000.0, 0.0])
async def test_a_batch_without_room_waits_and_goes_first_once_there_is_some(monkeypatch, limit_s):
    monkeypatch.setattr(module, "_INLINE_LIMIT_S", limit_s)
    log = Log()
    heard = Heard(log)
    log.error = OSError(ENOSPC, "No space left on device")
    heard.put(entries(1))
    await heard.until(lambda: heard.told == ["no room"])
    heard.put(entries(2))
    log.room = False
    heard.look_for_room()
    await heard.until(lambda: heard.looks == 1)
    log.room = True  # so it seems, but the batch still does not fit
    heard.look_for_room()
    await heard.until(lambda: heard.looks == 2 and log.attempts == 2)
    for _ in range(20):  # nothing is tried again unless asked for
        await asyncio.sleep(0)
    assert log.attempts == 2
    assert (heard.told, heard.errors, log.calls) == (["no room"], [], [])
    log.error = None
    heard.look_for_room()
    await heard.until(lambda: heard.told == ["no room", 2, "room"])
    assert log.calls == [("append", [1, 2]), "sync"]
    heard.flusher.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("limit_s", [1000.0, 0.0])
async def test_a_sync_without_room_is_a_failure(monkeypatch, limit_s):
    monkeypatch.setattr(module, "_INLINE_LIMIT_S", limit_s)
    log = Log()
    log.sync_error = OSError(ENOSPC, "No space left on device")
    heard = Heard(log)
    heard.put(entries(1))
    await heard.until(lambda: heard.errors == [log.sync_error])
    assert heard.flushed == []
    heard.flusher.close()


@pytest.mark.asyncio
async def test_without_force_sync_nothing_is_synced():
    log = Log()
    heard = Heard(log, syncs=False)
    heard.put(entries(1))
    assert log.calls == [("append", [1])]
    heard.flusher.close()


MIXED = [
    Truncate(4),
    *entries(5, 6),
    epoch_cell("currentEpoch", 2),
    epoch_cell("acceptedEpoch", 3),
    *entries(7),
    InstallSnapshot(9, b""),
    *entries(10, 11),
]
MIXED_CALLS = [
    *(Truncate(4), ("append", [5, 6]), "sync", epoch_cell("currentEpoch", 2), epoch_cell("acceptedEpoch", 3)),
    *(("append", [7]), "sync", InstallSnapshot(9, b""), ("append", [10, 11]), "sync"),
]
MIXED_DONE = [
    *((Truncate(4), "tree 4"), 6, (epoch_cell("currentEpoch", 2), None), (epoch_cell("acceptedEpoch", 3), None)),
    *(7, (InstallSnapshot(9, b""), "tree 9"), 11),
]


@pytest.mark.asyncio
@pytest.mark.parametrize("limit_s", [1000.0, 0.0])
@pytest.mark.parametrize("pieces", [1, 2, 100])
async def test_operations_and_entries_are_done_and_reported_in_order(monkeypatch, limit_s, pieces):
    monkeypatch.setattr(module, "_INLINE_LIMIT_S", limit_s)
    log = Log()
    heard = Heard(log)
    size = max(1, len(MIXED) // pieces)
    for at in range(0, len(MIXED), size):
        heard.put(MIXED[at : at + size])
    await heard.until(lambda: heard.told == MIXED_DONE)
    assert log.calls == MIXED_CALLS
    await heard.until(lambda: heard.looks)
    heard.flusher.close()


@pytest.mark.asyncio
async def test_what_replaces_the_tree_never_runs_on_the_loop():
    log = Log()
    heard = Heard(log)
    threads = []
    log.carry_out = lambda operation: threads.append(threading.current_thread())
    heard.put([epoch_cell("currentEpoch", 2), Truncate(4)])
    assert threads[0] is threading.main_thread()
    await heard.until(lambda: len(heard.told) == 2)
    heard.flusher.close()
    assert threads[1] is not threading.main_thread()


@pytest.mark.asyncio
@pytest.mark.parametrize("operation", [epoch_cell("currentEpoch", 2), Truncate(4)])
async def test_nothing_follows_an_operation_that_failed(operation):
    log = Log()
    heard = Heard(log)
    log.error = OSError(28, "No space left on device")
    heard.put([operation, *entries(5)])
    await heard.until(lambda: heard.errors == [log.error])
    log.error = None
    heard.put(entries(6))
    heard.flusher.close()
    assert log.calls == []
    assert heard.told == []


@pytest.mark.asyncio
async def test_a_replacement_counts_from_when_it_is_asked_for():
    log = Log()
    heard = Heard(log)
    replacements = heard.replacements
    with replacements.lock:  # as one who is just giving a snapshot its name
        heard.put([epoch_cell("currentEpoch", 2), Truncate(4), InstallSnapshot(5, b"")])
        assert (replacements.count, replacements.pending) == (2, 2)
        with pytest.raises(TimeoutError):  # the thread has time to go wrong
            async with asyncio.timeout(0.05):
                await heard.until(lambda: len(heard.told) > 1)
        assert log.calls == [epoch_cell("currentEpoch", 2)]
    await heard.until(lambda: len(heard.told) == 3)
    heard.flusher.close()
    assert (replacements.count, replacements.pending) == (2, 0)


@pytest.mark.asyncio
async def test_an_error_in_what_hears_of_the_thread_is_a_failure(monkeypatch):
    monkeypatch.setattr(module, "_INLINE_LIMIT_S", 0.0)
    log, error = Log(), KeyError("no one expected this")
    heard = Heard(log)

    def breaks(zxid):
        raise error

    heard.member.flushed = breaks
    heard.put(entries(1))
    await heard.until(lambda: heard.errors == [error])
    heard.put(entries(2))
    heard.flusher.close()
    assert log.calls == [("append", [1]), "sync"]
