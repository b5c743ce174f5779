"""Carries out the jobs of a simulated server's disk, as server/flusher.py does for a real one.

It tells the Ledger what is begun, written and durable. Virtual time passes between the two halves of a job: in between,
the server may end, or its machine may lose power.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from recipes.core.disk.jobs import Batch, Job, Naming, OperationJob
from recipes.core.disk.store import Store
from recipes.core.replication import Truncate
from recipes.core.sim.chance import Random
from recipes.core.sim.surroundings import Surroundings

if TYPE_CHECKING:
    from recipes.core.sim.node import Node

_RETAINED = 3  # snapshots


class SimFlusher:
    """The flusher of one life of a server.

    after(delay_us, action, *args): calls the action later, unless that life has ended. done: called with each done job.
    """

    def __init__(
        self,
        node: "Node",
        store: Store,
        around: Surroundings,
        chance: Random,
        after: Callable[..., None],
        done: Callable[[Job], None],
    ) -> None:
        self._node = node
        self._store = store
        self._around = around
        self._chance = chance
        self._after = after
        self._done = done
        self._told_zxid = -1  # last zxid of a batch that did not fit: the Ledger knows its entries already

    def write(self, job: Job) -> bool:
        """Begin a job, which finishes later; always False."""
        node = self._node
        settings = node.settings
        delay_us = (settings.flush_least_us + self._chance.randrange(settings.flush_us)) * node.slow_disk
        ledger = self._around.ledger
        ledger.slowest_flush_us = max(ledger.slowest_flush_us, delay_us)
        if isinstance(job, Batch):
            ledger.logged(node.sid, [entry for entry in job.entries if entry.zxid > self._told_zxid])
        if self._around.recorder is not None:
            self._around.recorder.begins(node.sid, job)
        job.begin(self._store)
        self._after(delay_us, self._finish, job)
        return False

    def _finish(self, job: Job) -> None:
        node, around, ledger = self._node, self._around, self._around.ledger
        if isinstance(job, OperationJob):
            ledger.begins(node.sid, job.operation)
        job.finish(self._store)
        if isinstance(job, Batch):
            self._told_zxid = -1 if job.fits else job.entries[-1].zxid
            if job.fits:
                ledger.synced(node.sid, node.disk.unsynced("log."))
                around.note(node.sid, f"has 0x{job.entries[-1].zxid:x}")
        elif isinstance(job, OperationJob):
            last_zxid = job.tree.last_zxid if job.tree is not None else 0
            keeps_tree = isinstance(job.operation, Truncate) and job.tree is None
            if isinstance(job.operation, Truncate) and keeps_tree:
                last_zxid = job.operation.zxid
            around.happened(type(job.operation).__name__)
            around.note(node.sid, f"{type(job.operation).__name__} {job.operation[0]} 0x{last_zxid:x}")
            ledger.carried_out(node.sid, job.operation, last_zxid, keeps_tree)
        elif isinstance(job, Naming) and job.named:
            around.happened("snapshot")
            ledger.rules.named_snapshot(node.sid, job.zxid)
            node.turn.snapshots.purge(node.disk, _RETAINED)
        if around.recorder is not None:
            around.recorder.done(node.sid, job)
        self._done(job)
