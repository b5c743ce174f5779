"""Puts what a simulated server has decided on its disk, in order; as server/flusher.py does for a real one.

What each write promises is told to the Ledger as it happens: begun, written, durable.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from recipes.core.disk.store import Store
from recipes.core.replication import Entry, Operation, Write
from recipes.core.sim.chance import Random
from recipes.core.sim.snapshots import Snapshots
from recipes.core.sim.surroundings import Surroundings

if TYPE_CHECKING:
    from recipes.core.sim.node import Node


class Flusher:
    """Of one life of a server.

    after(delay_us, action, *args): has something done later, as long as that life lasts. turn: lets what a write has
    brought about go out. full: there was no room at the last look.
    """

    def __init__(
        self,
        node: "Node",
        store: Store,
        around: Surroundings,
        chance: Random,
        after: Callable[..., None],
        turn: Callable[[], None],
    ) -> None:
        self.full: bool = False
        self._node = node
        self._store = store
        self._around = around
        self._chance = chance
        self._after = after
        self._turn = turn
        self._queue: list[Write] = []
        self._busy = False
        self._snapshots = Snapshots(node.disk, node.settings.snap_count, after, around.happened)

    def put(self, writes: list[Write]) -> None:
        """Put writes on disk, behind all that came before."""
        self._queue += writes
        if not self._busy:
            self._next()

    def look_for_room(self) -> None:
        """Make room ahead, and let the member know when there is none, or is again."""
        full = not self._store.reserve()
        if full != self.full:
            self.full = full
            if full:
                self._around.happened("no space")
            self._node.member.no_space(full)

    def _next(self) -> None:
        """Begin with the next writes: a run of entries with one sync, or one operation."""
        queue, node = self._queue, self._node
        if not queue:
            self._busy = False
            return
        self._busy = True
        count = 0
        while count < len(queue) and isinstance(queue[count], Entry):
            count += 1
        delay_us = (1 + self._chance.randrange(node.settings.flush_us)) * node.slow_disk
        if count == 0:
            self._after(delay_us, self._carry_out, queue.pop(0))
            return
        batch: list[Entry] = queue[:count]  # type: ignore[assignment]
        del queue[:count]
        if self._snapshots.roll_due:
            self._snapshots.roll_due = False
            self._store.roll()
        self._around.ledger.logged(node.sid, batch)
        self._store.append(batch)
        self._after(delay_us, self._sync, batch)

    def _sync(self, batch: list[Entry]) -> None:
        node, around = self._node, self._around
        self._store.sync()
        around.ledger.synced(node.sid, node.disk.unsynced("log."))
        around.note(node.sid, f"has 0x{batch[-1].zxid:x}")
        node.member.flushed(batch[-1].zxid)
        self._next()
        self.look_for_room()
        if not self.full:
            self._snapshots.logged(len(batch), node.member.tree)
        self._turn()

    def _carry_out(self, operation: Operation) -> None:
        node, around = self._node, self._around
        around.ledger.begins(node.sid, operation)
        tree = self._store.carry_out(operation)
        last_zxid = tree.last_zxid if tree is not None else 0
        around.happened(type(operation).__name__)
        around.note(node.sid, f"{type(operation).__name__} {operation[0]} 0x{last_zxid:x}")
        around.ledger.carried_out(node.sid, operation, last_zxid)
        if tree is not None:
            self._snapshots.drop()
        node.member.written(operation, tree)
        self._next()
        self._turn()
