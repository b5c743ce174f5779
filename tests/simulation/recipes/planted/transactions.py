"""In transactions: in coordinators, their records, recovery, time-outs, and what participants promise."""

from types import MappingProxyType
from typing import Any

from recipes.transaction import driver, stages, termination
from recipes.transaction.branch import STEPS, Answer, BranchState, Deed, Request, Step
from recipes.transaction.driver import Driver
from recipes.transaction.record import Decision, Record, Records
from recipes.transaction.recovery import Recovery
from recipes.transaction.stages import Event, Stage
from recipes.transaction.termination import Action, Finding, Termination
from tests.simulation.recipes.planted.bug import Patch, planted

_YES = driver._YES


@planted("transaction", 2, "R11")
def commit_leaves_before_its_decision_is_durable(patch: Patch) -> None:
    original = Driver._decide

    async def decide(self: Driver, decision: Decision) -> Event:
        if decision is Decision.ABORT:
            return await original(self, decision)
        undecided = self.record
        self.record = undecided._replace(decision=decision)

        async def write() -> None:
            await self._records.decide(undecided, decision, undecided.owner)

        self._records.client.look_after(write)
        return Event.WRITTEN

    patch.setattr(Driver, "_decide", decide)


@planted("transaction", 1, "R12")
def participants_prepare_before_the_record_is_written(patch: Patch) -> None:
    """And when their coordinator dies, nobody knows of them."""
    original = Driver._prepare

    async def write(self: Driver) -> Event:
        return Event.WRITTEN

    async def prepare(self: Driver) -> Event:
        event = await original(self)
        self.record = await self._records.write(self.record, self.record.owner)
        return event

    patch.setattr(Driver, "_write_record", write)
    patch.setattr(Driver, "_prepare", prepare)


@planted("transaction", 1, "R11")
def a_refusal_counts_as_a_vote(patch: Patch) -> None:
    patch.setattr(driver, "_YES", _YES | {Answer.REFUSED})


@planted("transaction", 4, "R11")
def silence_counts_as_yes(patch: Patch) -> None:
    patch.setattr(driver, "_YES", _YES | {Answer.UNKNOWN})


@planted("transaction", 4, "R11")
def a_decision_is_written_over_what_has_joined(patch: Patch) -> None:
    """Of whatever version the record is."""
    original = Records.decide

    async def decide(self: Records, record: Record, *args: Any, **more: Any) -> Record:
        return await original(self, record._replace(version=-1), *args, **more)

    patch.setattr(Records, "decide", decide)


@planted("transaction", 228, "R11")
def a_deposed_coordinator_decides(patch: Patch) -> None:
    """Nothing is checked: neither that it is one yet, nor that others have not decided."""
    original = Records.decide

    async def decide(self: Records, record: Record, decision: Decision, guard: str, *args: Any) -> Record:
        found = await self.read(record.id)
        if found is not None and found.decision is not None:
            record = record._replace(version=found.version)
        return await original(self, record, decision, self.folder, *args)

    patch.setattr(Records, "decide", decide)


@planted("transaction", 2, "R11")
def recovery_commits_what_nobody_decided(patch: Patch) -> None:
    original = Recovery._end

    async def end(self: Recovery, record: Record, guard: str) -> None:
        while record.decision is None:
            record = await self._records.decide(record, Decision.COMMIT, guard)
        await original(self, record, guard)

    patch.setattr(Recovery, "_end", end)


@planted("transaction", 133, "R11")
def recovery_ignores_whether_a_coordinator_lives(patch: Patch) -> None:
    original = Recovery.__init__

    class OfTheDead(Records):
        async def read(self, transaction: str) -> Record | None:
            found = await super().read(transaction)
            return None if found is None else found._replace(owner="/gone")

    def init(self: Recovery, *args: Any) -> None:
        original(self, *args)
        self._records = OfTheDead(self._client, self._records.folder)

    patch.setattr(Recovery, "__init__", init)


@planted("transaction", 101, "R12")
def a_record_goes_before_all_have_proved(patch: Patch) -> None:
    original = Recovery.settle

    async def settle(self: Recovery, record: Record, decision: Decision) -> bool:
        await original(self, record, decision)
        return True

    patch.setattr(Recovery, "settle", settle)


@planted("transaction", 9, "R12")
def recovery_tells_an_outcome_once(patch: Patch) -> None:
    class Once(set[str]):
        def discard(self, item: str) -> None:
            """It is remembered as done."""

    original = Recovery.__init__

    def init(self: Recovery, *args: Any) -> None:
        original(self, *args)
        self._ending = Once()

    patch.setattr(Recovery, "__init__", init)


@planted("transaction", 1, "R12")
def participants_forget_before_the_record_is_gone(patch: Patch) -> None:
    """Whoever finds the record asks them again, and nobody knows any more."""
    original = Recovery._delete

    async def delete(self: Recovery, batch: list[Record]) -> None:
        await self._forget([record for record in batch if record.decision is Decision.COMMIT])
        await original(self, batch)

    patch.setattr(Recovery, "_delete", delete)


@planted("transaction", 8, "R12")
def a_late_prepare_is_accepted(patch: Patch) -> None:
    """An abort that comes first leaves no mark."""
    rows = {(BranchState.ABSENT, Request.ABORT): Step(BranchState.ABSENT, Deed.NOTHING, Answer.ABORTED)}
    patch.setattr("tests.simulation.recipes.databases.STEPS", MappingProxyType(STEPS | rows))


@planted("transaction", 2, "R11")
def a_branch_that_joined_is_not_asked(patch: Patch) -> None:
    original = Driver._decide

    async def decide(self: Driver, decision: Decision) -> Event:
        while (event := await original(self, decision)) is Event.JOINED:
            continue
        return event

    patch.setattr(Driver, "_decide", decide)


@planted("transaction", 2, "R12")
def who_changed_nothing_is_told_to_commit(patch: Patch) -> None:
    """It has nothing to prove it by."""
    original = Driver._decide

    async def decide(self: Driver, decision: Decision) -> Event:
        self._read_only.clear()
        return await original(self, decision)

    patch.setattr(Driver, "_decide", decide)


@planted("transaction", 4, "R12")
def an_abort_is_not_told_to_who_was_silent(patch: Patch) -> None:
    """It may have prepared all the same."""
    original = Driver._note

    def note(self: Driver, event: Event, why: str = "") -> None:
        original(self, event, why)
        if self.stage is Stage.ABORTING:
            self.unsettled = {name: said for name, said in self.unsettled.items() if name in self._prepared}

    patch.setattr(Driver, "_note", note)


@planted("transaction", 9, "R12")
def an_outcome_is_told_once(patch: Patch) -> None:
    original = Driver._settle

    async def settle(self: Driver, name: str, decision: Decision, tries: int | None) -> None:
        await original(self, name, decision, 1)

    patch.setattr(Driver, "_settle", settle)


@planted("transaction", 32, "R11")
def a_session_that_is_lost_while_commit_is_decided_counts_as_an_abort(patch: Patch) -> None:
    tables = {
        protocol: MappingProxyType(table | {(Stage.DECIDING_COMMIT, Event.LOST): Stage.ABORTING})
        for protocol, table in stages.TABLES.items()
    }
    patch.setattr(stages, "TABLES", MappingProxyType(tables))


@planted("transaction", 6, "R12")
def a_session_that_is_lost_while_abort_is_decided_leaves_the_work_of_branches_to_others(patch: Patch) -> None:
    """Even if nobody was asked to prepare: then no other coordinator ends it."""
    tables = {
        protocol: MappingProxyType(table | {(Stage.DECIDING_ABORT, Event.LOST_UNASKED): Stage.IN_DOUBT})
        for protocol, table in stages.TABLES.items()
    }
    patch.setattr(stages, "TABLES", MappingProxyType(tables))


@planted("transaction", 13, "R11")
def a_time_out_aborts_by_itself(patch: Patch) -> None:
    """The textbook's other guess: of a coordinator that lives and is slow."""
    patch.setattr(termination, "ACTIONS", MappingProxyType(termination.ACTIONS | {Finding.RUNNING: Action.ABORT}))


@planted("transaction", 3, "R11")
def a_time_out_commits_by_itself(patch: Patch) -> None:
    """Three-phase commit as it is taught."""
    original = Termination.__init__

    def init(self: Termination, *args: Any, **more: Any) -> None:
        original(self, *args, **more | {"on_timeout": "commit"})

    patch.setattr(Termination, "__init__", init)
