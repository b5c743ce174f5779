"""The branches of one participant that keeps values by key: the state, redo and undo values of each.

Pure: `decide` returns the reply to a request and the Change that it makes, `apply` makes the Change. A durable
participant writes the Change to its log between the two calls, and replays its log with `apply` alone.

A branch locks the keys that it read and wrote from its vote to its outcome; other branches may still read the keys that
it only read. When it votes, the values that it read are compared with the current ones, so that no update is lost (Kung
and Robinson, On Optimistic Methods for Concurrency Control, 1981).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

from recipes.transaction.branch import STEPS, Answer, BranchState, Deed, Reply, Request
from recipes.transaction.participant import BranchId, Prepared, Waiting
from recipes.transaction.stages import CommitProtocol

V = TypeVar("V")


class Work(NamedTuple, Generic[V]):
    """What a branch does before it votes. reads: values found, by key. writes: values to write, by key."""

    reads: dict[str, V | None]
    writes: dict[str, V | None]


class PrepareRecord(NamedTuple, Generic[V]):
    """What is kept of a branch that awaits its outcome.

    redo: the values that it writes, by key. undo: the values before, by key. None: the key has no value. reads: keys
    that it read. protocol: the one that asked it to prepare.
    """

    redo: Mapping[str, V | None]
    undo: Mapping[str, V | None]
    reads: frozenset[str]
    protocol: CommitProtocol


class Change(NamedTuple, Generic[V]):
    """One entry of a participant's log: the new state of a branch.

    since: seconds since 1970. prepared: only in state PREPARED.
    """

    branch: BranchId
    state: BranchState
    since: float
    prepared: PrepareRecord[V] | None = None


class Branches(Generic[V]):
    """The branches of one participant.

    states: of all branches that are not ABSENT. since: when each reached its state, in seconds since 1970. prepared: of
    the branches in state PREPARED.
    """

    def __init__(self) -> None:
        self.states: dict[BranchId, BranchState] = {}
        self.since: dict[BranchId, float] = {}
        self.prepared: dict[BranchId, PrepareRecord[V]] = {}

    def decide(
        self,
        request: Request,
        branch: BranchId,
        work: Work[V] | None,
        read: Callable[[str], V | None],
        protocol: CommitProtocol,
        now: float,
    ) -> tuple[Reply, Change[V] | None]:
        """The reply to a request, to be given once the Change is made; and that Change, if any.

        work: of the branch, None when there is none. read: the value of a key. now: seconds since 1970.
        """
        state = self.states.get(branch, BranchState.ABSENT)
        step = STEPS[state, request]
        prepared = None
        if step.deed in (Deed.CHECK, Deed.WRITE):
            if work is None:
                return Reply(Answer.REFUSED, _NO_WORK), Change(branch, BranchState.ABORTED, now)
            if why := self._conflict(work, read):
                return Reply(Answer.REFUSED, why), Change(branch, BranchState.ABORTED, now)
            if step.deed is Deed.WRITE:
                if not work.writes:
                    return Reply(Answer.READ_ONLY), None
                undo = {key: read(key) for key in work.writes}
                prepared = PrepareRecord(dict(work.writes), undo, frozenset(work.reads), protocol)
        change = None if step.state is state else Change(branch, step.state, now, prepared)
        return Reply(step.answer), change

    def apply(self, change: Change[V]) -> PrepareRecord[V] | None:
        """Make the change; return the branch's PrepareRecord from before, if any."""
        before = self.prepared.pop(change.branch, None)
        if change.state is BranchState.ABSENT:
            self.states.pop(change.branch, None)
            self.since.pop(change.branch, None)
        else:
            self.states[change.branch], self.since[change.branch] = change.state, change.since
        if change.prepared is not None:
            self.prepared[change.branch] = change.prepared
        return before

    def all(self) -> list[Change[V]]:
        """The Changes that rebuild this state from nothing."""
        prepared, since = self.prepared, self.since
        return [Change(branch, state, since[branch], prepared.get(branch)) for branch, state in self.states.items()]

    def drop_aborted(self, before: float) -> None:
        """Drop the marks of branches that were aborted before then: no request for them can be under way any more.

        The mark of a committed branch is the only proof of its commit, and stays until FORGET.
        """
        for branch in [each for each, state in self.states.items() if state is BranchState.ABORTED]:
            if self.since[branch] < before:
                self.apply(Change(branch, BranchState.ABSENT, before))

    def waiting(self, now: float) -> list[Waiting]:
        """The branches that are prepared. now: seconds since 1970. A clock that was set back gives no age below 0."""
        return [
            Waiting(branch, each.protocol, max(0.0, now - self.since[branch])) for branch, each in self.prepared.items()
        ]

    def listed(self, now: float) -> list[Prepared]:
        """The prepared branches for operators: with age, and the keys that each holds. now: seconds since 1970."""
        return [
            Prepared(str(branch), branch, age, tuple(self._locks(self.prepared[branch])))
            for branch, _, age in self.waiting(now)
        ]

    def _locks(self, record: PrepareRecord[V]) -> Iterator[str]:
        yield from (f"the key {key!r}" for key in sorted(record.redo))
        yield from (f"the key {key!r}, against writes" for key in sorted(record.reads - record.redo.keys()))

    def _conflict(self, work: Work[V], read: Callable[[str], V | None]) -> str:
        """Why the branch cannot commit its work, "" when nothing prevents it."""
        for other, its in self.prepared.items():
            taken = (its.redo.keys() | its.reads) & work.writes.keys() | its.redo.keys() & work.reads.keys()
            if taken:
                return f"{min(taken)!r} is locked by the branch {other}"
        for key, found in work.reads.items():
            if read(key) != found:
                return f"{key!r} has changed since the branch read it"
        return ""


_NO_WORK = "nothing is known here of the work of the branch: it never began, or was lost when the process ended"
