"""One transaction at its coordinator: does the work of each stage until the outcome is proved.

It runs in a task of the client and not in that of the block, so that a cancelled block leaves nothing undone.
`stages.py` decides which stage comes next; this module does its work.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import anyio

from recipes.core.client.backoff import pauses
from recipes.core.client.waiter import Waiter
from recipes.core.errors import AuthFailed, SessionError, StoreError, UnknownTransaction
from recipes.transaction import asking
from recipes.transaction.branch import Answer, Reply
from recipes.transaction.participant import BranchId, TransactionParticipant
from recipes.transaction.record import Decision, Record, Records
from recipes.transaction.stages import DECIDED, CommitProtocol, Event, Stage, following

if TYPE_CHECKING:
    from random import Random

log: logging.Logger = logging.getLogger("recipes.transaction")

_YES = frozenset({Answer.PREPARED, Answer.READ_ONLY})
_UNDO_TRIES = 3  # of an abort without a record: nothing was prepared


class Driver:
    """The driver of one transaction. `Coordinator.begin` makes it; `run` does all of its work.

    ends_at: the deadline for the participants to agree, by the client's clock.
    """

    def __init__(
        self,
        record: Record,
        records: Records,
        participants: Mapping[str, TransactionParticipant],
        fleet: str,
        *,
        ends_at: float,
        stage: Stage = Stage.WORKING,
    ) -> None:
        self.record: Record = record
        self.stage: Stage = stage
        self.why: str = ""
        self.unsettled: dict[str, str] = {}  # participants that have not proved the outcome -> their last answer
        self._decided: list[Waiter] = []  # of the tasks that await the decision
        self._ended: Waiter | None = None  # of the task that awaits the end of `run`
        self._records = records
        self._participants = participants
        self._fleet = fleet
        self._ends_at = ends_at
        self._over = False
        self._given_up = False
        self._polling: anyio.CancelScope | None = None
        self._scope = anyio.CancelScope()
        self._read_only: set[str] = set()
        self._prepared: set[str] = set()  # names of participants that voted yes
        self._asked = False  # whether anybody was asked to prepare
        self._random: Random = records.client.random
        self._clock: Callable[[], float] = records.client.clock
        self.began_at: float = self._clock()

    @property
    def decision(self) -> Decision | None:
        """The outcome; None while nothing is decided, or the decision is not known here."""
        if self.stage not in DECIDED:
            return None
        return self.record.decision or Decision.ABORT

    def end_block(self, event: Event, why: str = "") -> None:
        """Note that the block has ended. event: how."""
        self._note(event, why)

    @property
    def is_unprepared(self) -> bool:
        """Whether nothing is decided, and nobody can be prepared, since nobody was asked. If the session is lost then,
        the work of the branches is undone here: another coordinator may find no record, and does not reach what is at
        work in this process."""
        return not self._asked and self.stage not in DECIDED

    def lost(self, why: str) -> None:
        """Note that the session ended before anybody was asked to prepare."""
        if self.stage is not Stage.ABORTING:
            self._note(Event.LOST_UNASKED, why)

    async def wait_decided(self) -> None:
        """Return once the outcome is known, or will not be known here."""
        if self.stage not in DECIDED and not self._over:
            waiter = Waiter()
            self._decided.append(waiter)
            await waiter.wait()

    async def wait_settled(self) -> None:
        """Return once every participant has proved the outcome, or `run` has ended before that."""
        if not self._over:
            self._ended = Waiter()
            await self._ended.wait()

    def left_seconds(self) -> float:
        """How long until the deadline."""
        return max(0.0, self._ends_at - self._clock())

    def give_up(self) -> None:
        """Do not commit any more, unless commit is decided."""
        self._given_up = True
        if self._polling is not None:
            self._polling.cancel()

    def stop(self) -> None:
        """Stop `run`. Other coordinators go on with the transaction."""
        self._scope.cancel()

    def finish(self) -> None:
        """Note that `run` has ended, and wake the task that waits."""
        self._over = True
        for waiter in (*self._decided, self._ended):
            if waiter is not None:
                waiter.set()

    async def undo(self, within: float) -> None:
        """After a cancelled `run`: abort, with one try, the branches if nobody was asked to prepare. within: seconds it
        takes at most, even if the caller is cancelled."""
        if self.is_unprepared or (self.stage is Stage.ABORTING and self.record.decision is None):
            self.lost("the session is over")
            with anyio.move_on_after(within, shield=True):
                async with anyio.create_task_group() as group:
                    for name in list(self.unsettled):
                        group.start_soon(self._settle, name, Decision.ABORT, 1)

    async def run(self) -> None:
        """Work until every participant has proved the outcome, or this process cannot learn it. Raises only bugs."""
        work: dict[Stage, Callable[[], Awaitable[Event]]] = {
            Stage.ASKING: self._ask,
            Stage.RECORDING: self._write_record,
            Stage.PREPARING: self._prepare,
            Stage.DECIDING_COMMIT: lambda: self._decide(Decision.COMMIT),
            Stage.DECIDING_ABORT: lambda: self._decide(Decision.ABORT),
            Stage.COMMITTING: self._tell,
            Stage.ABORTING: self._tell,
        }
        rests = pauses(self._random, shortest=0.1, longest=5.0)
        with self._scope:
            while self.stage in work:
                try:
                    event = await work[self.stage]()
                except (SessionError, AuthFailed) as error:
                    self.why = self.why or str(error)
                    event = Event.LOST if self._asked else Event.LOST_UNASKED
                except StoreError as error:  # for example no permission, or no quota left
                    self.why = self.why or str(error)
                    event = Event.DENIED
                    if self.stage is not Stage.RECORDING:  # participants wait: the store may accept it later
                        log.warning(
                            "transaction %s: the store refuses its decision; trying again: %s", self.record.id, error
                        )
                        await anyio.sleep(next(rests))
                        continue
                self._note(event)

    def _note(self, event: Event, why: str = "") -> None:
        self.why = self.why or why
        self.stage = following(self.record.protocol, self.stage, event)
        if self.stage in (Stage.COMMITTING, Stage.ABORTING):
            self.unsettled = {name: "not asked yet" for name in self.record.branches if name not in self._read_only}
        if self.stage in DECIDED:
            for waiter in self._decided:
                waiter.set()

    def _branch(self, name: str) -> BranchId:
        return BranchId(self._fleet, self.record.id, name)

    async def _ask(self) -> Event:
        return await self._poll("can_commit", list(self.record.branches))

    async def _prepare(self) -> Event:
        """Ask the participants that have not voted yet: all, or one that has joined."""
        method: asking.Method = "pre_commit" if self.record.protocol is CommitProtocol.THREE_PHASE else "prepare"
        missing = [name for name in self.record.branches if name not in self._prepared | self._read_only]
        return await self._poll(method, missing)

    async def _poll(self, method: asking.Method, names: list[str]) -> Event:
        if (stop := self._stopped()) is not None:
            return stop
        left = self._ends_at - self._clock()
        unknown = [name for name in names if name not in self._participants]
        if unknown:
            self.why = f"{unknown[0]}: this coordinator has no such participant"
            return Event.REFUSED
        self._asked = self._asked or method != "can_commit"
        replies = await self._ask_all(method, names, left)
        for name, reply in replies.items():
            if reply.answer not in _YES:
                self.why = self.why or f"{name}: {reply}"
                return Event.TIME_UP if self._clock() >= self._ends_at else Event.REFUSED
            if method != "can_commit":
                (self._read_only if reply.answer is Answer.READ_ONLY else self._prepared).add(name)
        if len(replies) < len(names):
            return self._stopped() or Event.FAILED
        return Event.AGREED

    async def _ask_all(self, method: asking.Method, names: list[str], within: float) -> dict[str, Reply]:
        """Ask all of them at the same time. The first answer that is not yes ends the waiting for the others, and so
        does `give_up`; then some replies are missing."""
        replies: dict[str, Reply] = {}

        async def ask_one(name: str) -> None:
            replies[name] = reply = await asking.call(self._participants[name], self._branch(name), method)
            if reply.answer not in _YES:
                scope.cancel()

        async with anyio.create_task_group() as group:
            self._polling = scope = group.cancel_scope
            scope.deadline = anyio.current_time() + within  # one for all of them: scopes are expensive
            here, *others = names or (None,)
            for name in others:
                group.start_soon(ask_one, name)
            if here is not None:
                await ask_one(here)  # in this task: saves one for each transaction
        self._polling = None
        if len(replies) < len(names) and anyio.current_time() >= scope.deadline:
            for name in names:
                replies.setdefault(name, asking.no_answer(within))
        return replies

    async def _write_record(self) -> Event:
        if (stop := self._stopped()) is not None:
            return stop
        self.record = await self._records.write(self.record, self.record.owner)
        return Event.FOUND_ABORT if self.record.decision is not None else Event.WRITTEN

    async def _decide(self, decision: Decision) -> Event:
        if decision is Decision.COMMIT and (stop := self._stopped()) is not None:
            return stop
        done = self._read_only if decision is Decision.COMMIT else ()
        try:
            self.record = await self._records.decide(self.record, decision, self.record.owner, self.why, done)
        except UnknownTransaction:
            # The record of a coordinator that lives is removed by that coordinator alone, once it is settled. So others
            # took this one for dead. They abort what nobody has decided.
            self.record = self.record._replace(decision=Decision.ABORT, why="its record is gone")
        if self.record.decision is None:
            return Event.JOINED
        self.why = self.why or self.record.why
        if self.record.decision is decision:
            return Event.WRITTEN
        return Event.FOUND_COMMIT if self.record.decision is Decision.COMMIT else Event.FOUND_ABORT

    def _stopped(self) -> Event | None:
        """The event that forbids a commit from now on; None while a commit is possible."""
        if self._given_up:
            self.why = self.why or "the block was cancelled"
            return Event.FAILED
        if self._clock() >= self._ends_at:
            self.why = self.why or "time is up"
            return Event.TIME_UP
        return None

    async def _tell(self) -> Event:
        """Tell each participant the outcome until it has proved it."""
        decision = Decision.COMMIT if self.stage is Stage.COMMITTING else Decision.ABORT
        tries = None if self.record.decision is not None else _UNDO_TRIES
        async with anyio.create_task_group() as group:
            here, *others = self.unsettled or (None,)
            for name in others:
                group.start_soon(self._settle, name, decision, tries)
            if here is not None:
                await self._settle(here, decision, tries)  # in this task: saves one for each transaction
        return Event.PROVED

    async def _settle(self, name: str, decision: Decision, tries: int | None) -> None:
        patience = asking.patience(self.record.deadline)
        rounds = pauses(self._random, shortest=0.02, longest=patience)
        while what_it_says := await asking.tell(self._participants, self._branch(name), decision, patience):
            self.unsettled[name] = what_it_says
            if tries is not None:
                tries -= 1
                if not tries:
                    break
            await anyio.sleep(next(rounds))
        self.unsettled.pop(name, None)
