"""Bugs in the order in which a turn lets things go out, and in what waits for the disk."""

from recipes.core.disk.jobs import Batch, Look, OperationJob
from recipes.core.disk.write_queue import WriteQueue
from recipes.core.turn import Turn
from tests.simulation.planted.bug import Patch, planted


@planted(1, "Z9")
def what_a_sync_brings_about_goes_out_before_it(patch: Patch) -> None:
    def write(self: Turn) -> None:
        while not self._stopped and (job := self.writes.next()) is not None:
            if isinstance(job, Batch):
                self.member.flushed(job.entries[-1].zxid)
                self._send_before_sync()
            if not self._effects.write(job):
                return
            self._report(job)

    patch.setattr(Turn, "_write_and_sync", write)


@planted(1, "Z9", kinds=("full disk",))
def batch_without_room_is_dropped(patch: Patch) -> None:
    original = WriteQueue.done

    def done(self: WriteQueue, job: Batch | OperationJob | Look) -> bool | None:
        if isinstance(job, Batch):
            job.fits = True
        return original(self, job)

    patch.setattr(WriteQueue, "done", done)


@planted(1, "Z9")
def operations_overtake_entries(patch: Patch) -> None:
    original = WriteQueue.next

    def next_job(self: WriteQueue) -> Batch | OperationJob | Look | None:
        for operation in [each for each in self._pending if not isinstance(each, list)]:
            self._pending.remove(operation)
            self._pending.appendleft(operation)
        return original(self)

    patch.setattr(WriteQueue, "next", next_job)
