"""Carries out the jobs of a server's disk: on the loop while flushes are cheap, else in one dedicated thread.

The measured cost of the last flushes decides: with a fast disk a thread halves the rate of writes; with a slow disk
flushes on the loop make every reader wait. disk/write_queue.py decides the order of the jobs.
"""

import asyncio
import gc
import sys
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from time import perf_counter

from recipes.core.disk.jobs import Batch, Job, Log, Naming, OperationJob
from recipes.core.member.stats import Stats

_INLINE_LIMIT_S = 0.001
_SWITCH_INTERVAL_S = 1e-4  # the finishing thread must get the interpreter from a busy loop


class Flusher:
    """Runs the jobs of one server. All methods are called on the loop.

    stats: counts what the disk takes.
    done(job): called on the loop once a job is done for which `write` returned False.
    failed(error): called on the loop, once, when accepted bytes cannot be made durable, or when `done` raises. After
        that `write` must not be called.
    """

    def __init__(
        self,
        log: Log,
        *,
        done: Callable[[Job], None],
        failed: Callable[[BaseException], None],
        stats: Stats | None = None,
    ) -> None:
        self._log = log
        self._done = done
        self._failed = failed
        self._stats = Stats() if stats is None else stats
        self._asked_s = 0.0  # when the batch under way was handed over
        self._loop = asyncio.get_running_loop()
        self._broken = False
        self._cost_s = 0.0
        self._thread: threading.Thread | None = None
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._naming: asyncio.Future[None] | None = None
        self.batches: int = 0
        self.batches_in_thread: int = 0

    def write(self, job: Job) -> bool:
        """Carry out a job. True: it is done. False: `done` or `failed` is called, now or later."""
        is_batch = isinstance(job, Batch)
        if is_batch:
            self.batches += 1
            self._asked_s = perf_counter()
        # Zero-filling and replacing the tree always run in the thread: they would block the loop for too long.
        if self._cost_s < _INLINE_LIMIT_S and (is_batch or (isinstance(job, OperationJob) and not job.replaces)):
            try:
                self._carry_out(job)
            except OSError as error:
                self._fail(error)
                return False
            return True
        if isinstance(job, Naming):
            gc.freeze()
            self._naming = self._loop.run_in_executor(None, self._carry_out, job)
            self._naming.add_done_callback(partial(self._named, job))
        else:
            self.batches_in_thread += is_batch
            self._in_thread(job)
        return False

    async def settle(self) -> None:
        """Wait for a written snapshot to be synced and named."""
        if self._naming is not None:
            await asyncio.wait([self._naming])

    def close(self) -> None:
        """Wait for the thread to end, then close the log."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
        if not self._broken:
            self._log.close()

    def _carry_out(self, job: Job) -> None:
        begun_s = perf_counter()
        job.begin(self._log)
        written_s = perf_counter()
        job.finish(self._log)
        if isinstance(job, Batch) and job.fits:
            now_s = perf_counter()
            self._cost_s += (now_s - begun_s - self._cost_s) / 8
            self._stats.synced(now_s - written_s, now_s - begun_s, now_s - self._asked_s)

    def _in_thread(self, job: Job) -> None:
        if self._thread is None:
            sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
            self._thread = threading.Thread(target=self._run, name="recipes-flusher")
            self._thread.start()
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._carry_out(job)
            except BaseException as error:  # whatever it is, it must stop the server
                self._tell(partial(self._fail, error))
            else:
                self._tell(partial(self._report, job))
            del job  # else what it has written stays in memory until the next one comes

    def _tell(self, what: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:  # the loop is closed: nobody is left to tell
            return

    def _named(self, job: Naming, naming: asyncio.Future[None]) -> None:
        self._naming = None
        error = naming.exception()
        if error is None:
            self._report(job)
        else:
            self._fail(error)

    def _report(self, job: Job) -> None:
        try:
            self._done(job)
        except Exception as error:
            # The loop would only log this error, and the server would go on with a tree that may lack txns.
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._broken = True
        self._failed(error)
