"""Recovery: an elected coordinator ends the transactions that dead coordinators left.

It aborts undecided transactions, tells participants each decision until all have proved it, and removes the records of
settled transactions. It reads the whole state again and again rather than following changes, so that it misses nothing.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import anyio

from recipes.core import paths
from recipes.core.client.backoff import pauses
from recipes.core.errors import (
    AuthFailed,
    ConnectionLoss,
    HoldLost,
    MalformedValue,
    NoNode,
    RecipesError,
    SessionError,
    SessionExpired,
    StoreError,
    ThrottledOp,
    UnknownTransaction,
)
from recipes.election.election import Election
from recipes.transaction import asking
from recipes.transaction.home import SERVING, living_coordinators
from recipes.transaction.marks import forget_old
from recipes.transaction.participant import BranchId, TransactionParticipant
from recipes.transaction.record import Decision, Record, Records

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from recipes.core.client.client import Client
    from recipes.election.election import Term

log: logging.Logger = logging.getLogger("recipes.transaction")

_FIRST_MARKS_SECONDS = 60.0  # at the beginning of a term, for transactions that wait
_MARKS_SECONDS = 3_600.0  # between two looks for old marks
_LOOK_SECONDS = 1.0  # between two looks at the records
_AT_ONCE = 100  # transactions that are being ended
_REMOVED_AT_ONCE = 100
_GATHER_SECONDS = 0.25  # settled records gather this long, and are removed together


class Recovery:
    """Recovery in one coordinator process. `run` takes part in the election, and works while elected.

    home: the znode of the fleet.
    """

    def __init__(
        self,
        client: "Client",
        home: str,
        records: Records,
        participants: Mapping[str, TransactionParticipant],
        fleet: str,
    ) -> None:
        self._client = client
        self._home = home
        self._records = records
        self._participants = participants
        self._fleet = fleet
        self.serving: bool = False  # whether this process is elected
        self.left: int = 0  # transactions of dead coordinators that were there at the last look, and are not settled
        self.recovered: int = 0
        self._scope = anyio.CancelScope()
        self._settled: list[Record] = []
        self._removing = False
        self._hurry = anyio.Event()  # set: remove at once, gather no more
        self._removed = anyio.Event()
        self._known_bad: set[str] = set()
        self._ending: set[str] = set()
        self._proved: set[str] = set()  # ids of transactions settled here whose records may still exist
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)
        self._next_marks = client.clock() + _FIRST_MARKS_SECONDS

    async def run(self) -> None:
        """Serve until `stop`, or until the session is over."""
        with self._scope:
            try:
                await Election(self._client, paths.join(self._home, SERVING)).run(self._work)
            except (SessionError, HoldLost, AuthFailed):
                pass  # the session is over: others go on
            except StoreError:
                log.exception(
                    "recovery at %s has failed: this process ends no transactions of dead coordinators", self._home
                )

    async def flush(self) -> None:
        """Return once the records of all settled transactions are removed."""
        self._hurry.set()
        if self._removing:
            await self._removed.wait()

    def stop(self) -> None:
        """Stop `run`."""
        self._scope.cancel()

    async def _work(self, term: "Term") -> None:
        rounds = pauses(self._client.random, shortest=_LOOK_SECONDS, longest=_LOOK_SECONDS, least=0.5)
        failed: RecipesError | None = None
        self.serving = True
        try:
            async with anyio.create_task_group() as group:
                try:
                    while True:
                        try:
                            if self._client.clock() >= self._next_marks:
                                self._next_marks = self._client.clock() + _MARKS_SECONDS
                                group.start_soon(self._forget_old)  # in a task of its own: a participant may be slow
                            await self.look(term.path, group)
                        except (ConnectionLoss, MalformedValue, ThrottledOp) as error:
                            log.warning("%s", error)
                        await anyio.sleep(next(rounds))
                except RecipesError as error:  # the task group would wrap it in an ExceptionGroup
                    failed = error
                    group.cancel_scope.cancel()
        finally:
            self.serving, self.left = False, 0
        if failed is not None:
            raise failed

    async def _forget_old(self) -> None:
        try:
            await forget_old(self._client, self._records.folder, self._participants, self._fleet)
        except RecipesError as error:  # the next look tries again
            log.debug("old marks of branches were not removed: %s", error)

    async def look(self, guard: str, group: "TaskGroup") -> None:
        """Begin to end the transactions whose coordinator is gone.

        guard: see Records. group: runs a task for each transaction, so that a participant that does not answer delays
        no other transaction.
        """
        await self._client.sync(self._home)
        try:
            names = await self._client.children(self._records.folder)
            living = await living_coordinators(self._client, self._home)
        except NoNode:
            return
        left = []
        self._proved.intersection_update(names)
        for name in names:
            if name in self._proved:
                continue
            try:
                record = await self._records.read(name)
            except MalformedValue as error:
                if name not in self._known_bad:
                    self._known_bad.add(name)
                    log.warning("%s; the record stays as it is", error)
                continue
            if record is not None and record.owner.rpartition("/")[2] not in living:
                left.append(record)
        left = [record for record in left if record.id not in self._proved]  # some were settled meanwhile
        self.left = len(left)
        for record in left:
            if record.id not in self._ending:
                self._ending.add(record.id)
                group.start_soon(self._end, record, guard)

    async def _end(self, record: Record, guard: str) -> None:
        """End one transaction. Its errors do not affect the others."""
        try:
            async with self._limiter:
                while record.decision is None:
                    # Only its own coordinator knew the votes: presumed abort.
                    record = await self._records.decide(record, Decision.ABORT, guard, "its coordinator is gone")
                if await self.settle(record, record.decision):
                    self.left -= 1
                    self.recovered += 1  # before the log line: its reader may look at the figures
                    self._proved.add(record.id)
                    log.info("transaction %s of a dead coordinator is settled: %s", record.id, record.decision.value)
                    self.remove(record)
        except UnknownTransaction:
            pass  # it was settled meanwhile
        except SessionExpired:
            pass  # our term is over, or about to be: others go on
        except RecipesError as error:
            log.warning("transaction %s of a dead coordinator is not settled yet: %s", record.id, error)
        finally:
            self._ending.discard(record.id)

    async def settle(self, record: Record, decision: Decision) -> bool:
        """Tell all participants the outcome once; return whether each has proved it."""
        unproved = []
        patience = asking.patience(record.deadline)

        async def tell(name: str) -> None:
            branch = BranchId(self._fleet, record.id, name)
            if what_it_says := await asking.tell(self._participants, branch, decision, patience):
                unproved.append(what_it_says)

        async with anyio.create_task_group() as group:
            for name in record.branches:
                group.start_soon(tell, name)
        return not unproved

    def remove(self, record: Record) -> None:
        """Remove the record of a settled transaction soon, together with others. Returns at once."""
        self._settled.append(record)
        if not self._removing:
            self._removing, self._removed = True, anyio.Event()
            self._client.look_after(self._remove_all)

    async def _remove_all(self) -> None:
        try:
            while self._settled:
                with anyio.move_on_after(_GATHER_SECONDS):
                    await self._hurry.wait()
                batch, self._settled = self._settled[:_REMOVED_AT_ONCE], self._settled[_REMOVED_AT_ONCE:]
                await self._delete(batch)
                # Not before: while a record exists, its participants may be asked again. Marks of aborts stay for
                # longer, since a prepare may still be on its way.
                await self._forget([record for record in batch if record.decision is Decision.COMMIT])
        except (SessionError, AuthFailed):
            pass  # the next elected coordinator settles them again, and removes them
        finally:
            self._removing = False
            self._removed.set()

    async def _forget(self, batch: Iterable[Record]) -> None:
        """Let participants drop their marks of these transactions."""
        async with anyio.create_task_group() as group:
            for name, participant in self._participants.items():
                branches = [BranchId(self._fleet, record.id, name) for record in batch if name in record.branches]
                if branches:
                    group.start_soon(asking.forget, participant, branches)

    async def _delete(self, batch: list[Record]) -> None:
        while batch:
            multi = self._client.multi()
            for record in batch:
                multi.delete(self._records.path(record.id))
            try:
                outcome = await multi.start().result()
            except ConnectionLoss:
                continue
            if outcome.error is None:
                return
            if not isinstance(outcome.error, NoNode):
                log.warning("records of settled transactions cannot be removed: %s", outcome.error)
                self._proved.difference_update(record.id for record in batch)
                return
            batch = [record for place, record in enumerate(batch) if place != outcome.failed_at]
