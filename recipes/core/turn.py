"""One turn of a server: what it has decided goes out, in order. The real server, the simulator and tests all use it.

A shell calls `begin`, hands all inputs to the Member and the Replica, and calls `carry_out`. This module alone decides
in what order things then leave:

1. The Outbox leaves first, so that the other servers write while this one does. It promises nothing that this server's
   disk does not hold. With it go the replies and watch events that are ready: their reasons are durable already.
2. Writes go to the disk in the order they were decided, one job at a time; entries that wait together share a sync.
3. `flushed` and `written` are called once a job is durable. Their results, such as replies to clients, go out after
   that.
"""

from typing import Final, Protocol

from recipes.core.disk.jobs import Batch, Job, Naming, OperationJob
from recipes.core.disk.snapshot_writer import SnapshotWriter
from recipes.core.disk.write_queue import WriteQueue
from recipes.core.member.connection import Connection
from recipes.core.member.member import Member
from recipes.core.outbox import Outbox
from recipes.core.replication import Replica

_LATE_MS: Final = 50  # a wake this much later than planned: this server has stood still
_LOOK_MS: Final = 5  # then as long for the input that has arrived meanwhile


class Effects(Protocol):
    """How a shell carries out what a turn decides."""

    def post(self, outbox: Outbox) -> None:
        """Send its votes and its links' packets to the other servers, dial the server it names, and log its notes."""

    def reply(self, connections: list[Connection]) -> None:
        """Send the `out` of each connection, and close those with `wants_close`."""

    def write(self, job: Job, /) -> bool:
        """Carry a job out: its `begin`, then its `finish`. True: it is done.

        False: it is under way. Once it is done, the shell calls `begin`, `done` with the job, and `carry_out` of the
        Turn. If the job fails, the shell calls `stop` instead.
        """
        ...

    def wake_at(self, now_ms: int) -> None:
        """Call `begin` and `wake` at `now_ms`, which replaces the time given before; a call too early does no harm."""

    def log(self, text: str, is_error: bool) -> None:
        """Log `text` for an operator."""


class Turn:
    """The turns of one server.

    member, replica: as they are when the server starts. writes, snapshots: of its disk.
    tick_ms: how often the member's tick is called. slice_ms: how often slices of a snapshot are written.
    """

    __slots__ = (
        "_effects", "_look_ms", "_measure_at_bytes", "_next_slice_ms", "_next_tick_ms", "_slice_ms",
        "_snapshot_begun_ms", "_stopped", "_tick_ms", "_wake_ms", "member", "replica", "snapshots", "writes",
    )  # fmt: skip

    def __init__(
        self,
        member: Member,
        replica: Replica,
        writes: WriteQueue,
        snapshots: SnapshotWriter,
        effects: Effects,
        *,
        tick_ms: int,
        slice_ms: int = 10,
    ) -> None:
        self.member: Member = member
        self.replica: Replica = replica
        self.writes: WriteQueue = writes
        self.snapshots: SnapshotWriter = snapshots
        self._effects = effects
        self._tick_ms = tick_ms
        self._slice_ms = slice_ms
        self._next_tick_ms = member.now_ms
        self._next_slice_ms: int | None = None  # while a snapshot is written
        self._wake_ms: int | None = None
        self._snapshot_begun_ms = 0
        self._measure_at_bytes = 0  # in `writes.logged_bytes`: then the memory of the store is measured
        self._look_ms: int | None = None  # after a late wake: until then only take in what has arrived
        self._stopped = False

    def begin(self, now_ms: int, wall_ms: int) -> None:
        """Set the time, before any input of this turn."""
        self.member.begin_turn(now_ms, wall_ms)
        self.replica.begin_turn(now_ms)

    def wake(self) -> None:
        """Do what is due by now, and carry out what it decides."""
        planned_ms, self._wake_ms = self._wake_ms, None
        member, replica = self.member, self.replica
        now_ms, deadline_ms = member.now_ms, replica.deadline_ms
        if self._look_ms is None and planned_ms is not None and now_ms - planned_ms >= _LATE_MS:
            # Sessions and servers that seem silent may have been heard long ago: their bytes come before timers.
            if now_ms - planned_ms >= self._tick_ms:
                member.stalled(now_ms - planned_ms)
            self._look_ms = now_ms + _LOOK_MS
            self.carry_out()
            return
        if self._look_ms is not None and now_ms < self._look_ms:
            self.carry_out()
            return
        self._look_ms = None
        if deadline_ms is not None and deadline_ms <= now_ms:
            replica.tick()
        if self._next_tick_ms <= now_ms:
            self._next_tick_ms = now_ms + self._tick_ms
            member.tick()
            self._measure_memory()
            if member.disk_full:
                self.writes.look_for_room()
                self._write_and_sync()
        if member.has_work:
            member.work()
        if self._next_slice_ms is not None and self._next_slice_ms <= now_ms:
            naming = self.snapshots.step()
            self._next_slice_ms = now_ms + self._slice_ms if self.snapshots.writing else None
            if naming is not None and self._effects.write(naming):
                self._report(naming)
        self.carry_out()

    def carry_out(self) -> None:
        """Let everything that has been decided go out."""
        member, writes = self.member, self.writes
        while decided := member.take_writes():
            member.count_writes(decided)
            self._send_before_sync()
            writes.put(decided)
            self._write_and_sync()
            logged_bytes = writes.logged_bytes
            if logged_bytes >= self._measure_at_bytes:
                self._measure_memory()
            if self.snapshots.is_due(len(decided), logged_bytes) and not member.disk_full:
                self.begin_snapshot()
        self._send_before_sync()
        member.count_commits()
        wake_ms, deadline_ms = self._next_tick_ms, self.replica.deadline_ms
        if deadline_ms is not None and deadline_ms < wake_ms:
            wake_ms = deadline_ms
        if self._next_slice_ms is not None and self._next_slice_ms < wake_ms:
            wake_ms = self._next_slice_ms
        if member.has_work:
            wake_ms = min(wake_ms, member.now_ms)
        if self._look_ms is not None and wake_ms < self._look_ms:
            wake_ms = self._look_ms
        if wake_ms != self._wake_ms:
            self._wake_ms = wake_ms
            self._effects.wake_at(wake_ms)

    def done(self, job: Job) -> None:
        """A job that was under way is done."""
        self._report(job)
        self._write_and_sync()

    def begin_snapshot(self) -> None:
        """Start a snapshot, and a new log file with it, unless one is under way or the tree is being replaced."""
        if self.snapshots.is_free:
            self.writes.roll()
            self._snapshot_begun_ms = self.member.now_ms
            self.snapshots.begin(self.member.tree, self.writes.logged_bytes)
            if self.snapshots.writing:
                self._next_slice_ms = self.member.now_ms + self._slice_ms

    def stop(self) -> None:
        """The server can no longer serve: nothing leaves it and nothing is written from here on.

        A failed sync may have dropped the pages: a second sync could report them as durable although they are not.
        """
        self._stopped = True

    def _send_before_sync(self) -> None:
        if not self._stopped:
            outbox = self.replica.take_outbox()
            if outbox is not None:
                self._effects.post(outbox)
            touched = self.member.take_touched()
            if touched:
                self._effects.reply(touched)

    def _write_and_sync(self) -> None:
        """Start the next job, and go on as long as each job is done at once."""
        while not self._stopped and (job := self.writes.next()) is not None:
            if not self._effects.write(job):
                return
            self._report(job)

    def _report(self, job: Job) -> None:
        if isinstance(job, Naming):
            self.member.stats.snapshots.add(self.member.now_ms - self._snapshot_begun_ms)
            self.snapshots.done(job)
            return
        room = self.writes.done(job)
        if room is not None:
            self._say_room(room)
        elif isinstance(job, Batch):
            self.member.stats.wrote(job.sizes)
            self.member.flushed(job.entries[-1].zxid)
        elif isinstance(job, OperationJob):
            self.member.written(job.operation, job.tree)

    def _measure_memory(self) -> None:
        member = self.member
        said = member.measure_memory()
        self._measure_at_bytes = self.writes.logged_bytes + member.memory.step_bytes
        if said is not None:
            self._effects.log(said, member.memory.full)

    def _say_room(self, found: bool) -> None:
        member = self.member
        if found == member.disk_full:
            if found:
                self._effects.log("there is space for the transaction log again", False)
            else:
                self._effects.log(
                    "no space for the transaction log: writes are refused, reads go on; make room on its disk", True
                )
            member.no_space(not found)
