"""A participant in memory: a double for tests, with faults on demand. It keeps nothing when the process ends."""

from collections.abc import Awaitable, Callable, Sequence

import anyio

from recipes.transaction.branch import STEPS, Answer, BranchState, Deed, Request
from recipes.transaction.participant import BranchId, Waiting
from recipes.transaction.stages import Protocol

Fault = Callable[[Request, BranchId], Awaitable[Answer | None]]


class MemoryParticipant:
    """Values by key, changed by transactions: `values` is what has committed.

    before, after: called with each request before it is carried out, and before its answer is given. They may wait,
    raise, or return an Answer, which is given instead: a refusal, a lost request, a lost answer.

    `tx.enlist` returns a dict: what the block puts into it is what the branch writes. A key that another branch has
    prepared is locked: prepare refuses.
    """

    def __init__(self, *, before: Fault | None = None, after: Fault | None = None) -> None:
        self.values: dict[str, object] = {}
        self.states: dict[BranchId, BranchState] = {}
        self.before: Fault | None = before
        self.after: Fault | None = after
        self.requests: list[tuple[Request, BranchId]] = []
        self._working: dict[BranchId, dict[str, object]] = {}
        self._redo: dict[BranchId, dict[str, object]] = {}
        self._prepared_at: dict[BranchId, float] = {}
        self._pre_committed: set[BranchId] = set()

    async def begin(self, branch: BranchId) -> dict[str, object]:
        """What the branch is going to write."""
        return self._working.setdefault(branch, {})

    async def can_commit(self, branch: BranchId) -> Answer:
        """Whether no key is locked."""
        return await self._serve(Request.CAN_COMMIT, branch)

    async def prepare(self, branch: BranchId) -> Answer:
        """Lock the keys."""
        return await self._serve(Request.PREPARE, branch)

    async def pre_commit(self, branch: BranchId) -> Answer:
        """As prepare."""
        self._pre_committed.add(branch)
        return await self._serve(Request.PREPARE, branch)

    async def commit(self, branch: BranchId) -> Answer:
        """Write the values."""
        return await self._serve(Request.COMMIT, branch)

    async def abort(self, branch: BranchId) -> Answer:
        """Forget the values."""
        return await self._serve(Request.ABORT, branch)

    async def forget(self, branch: BranchId) -> Answer:
        """Drop the mark."""
        return await self._serve(Request.FORGET, branch)

    async def recover(self) -> Sequence[BranchId]:
        """The branches that are prepared."""
        return [branch for branch, state in self.states.items() if state is BranchState.PREPARED]

    async def waiting(self) -> Sequence[Waiting]:
        """The same, each with its protocol and for how long it has been so."""
        now, three = anyio.current_time(), self._pre_committed
        return [
            Waiting(branch, Protocol.THREE_PHASE if branch in three else Protocol.TWO_PHASE, now - since)
            for branch, since in self._prepared_at.items()
        ]

    async def _serve(self, request: Request, branch: BranchId) -> Answer:
        self.requests.append((request, branch))
        if self.before is not None and (instead := await self.before(request, branch)) is not None:
            return instead
        answer = self._carry_out(request, branch)
        if self.after is not None and (instead := await self.after(request, branch)) is not None:
            return instead
        return answer

    def _carry_out(self, request: Request, branch: BranchId) -> Answer:
        step = STEPS[self.states.get(branch, BranchState.ABSENT), request]
        state, answer = step.state, step.answer
        match step.deed:
            case Deed.CHECK | Deed.WRITE if self._refuses(branch):
                state, answer = BranchState.ABORTED, Answer.REFUSED
            case Deed.WRITE:
                self._redo[branch] = self._working.pop(branch)
                if not self._redo[branch]:
                    del self._redo[branch]
                    state, answer = BranchState.ABSENT, Answer.READ_ONLY
            case Deed.KEEP:
                self.values |= self._redo.pop(branch)
            case Deed.UNDO | Deed.MARK:
                self._redo.pop(branch, None)
                self._working.pop(branch, None)
        if state is BranchState.PREPARED:
            self._prepared_at.setdefault(branch, anyio.current_time())
        elif self._prepared_at.pop(branch, None) is not None:
            self._pre_committed.discard(branch)
        if state is BranchState.ABSENT:
            self.states.pop(branch, None)
        else:
            self.states[branch] = state
        return answer

    def _refuses(self, branch: BranchId) -> bool:
        """Its work is gone, or a key is locked by another branch."""
        work = self._working.get(branch)
        return work is None or any(not work.keys().isdisjoint(locked) for locked in self._redo.values())
