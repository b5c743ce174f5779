"""A participant in memory: a double for tests, with faults on demand. It keeps nothing when the process ends."""

from collections.abc import Awaitable, Callable, Sequence

import anyio

from recipes.transaction.branch import Answer, BranchState, Request
from recipes.transaction.branches import Branches, Work
from recipes.transaction.participant import BranchId, Prepared, Waiting
from recipes.transaction.stages import CommitProtocol

Fault = Callable[[Request, BranchId], Awaitable[Answer | None]]


class MemoryParticipant:
    """Values by key, changed by transactions: `values` is what has committed.

    before: called with each request before it is carried out. after: called before its answer is returned. Both may
    wait, raise, or return an Answer to give instead. So a test can simulate a refusal, a lost request or a lost answer.

    clock: returns seconds, for `waiting`; by default the event loop's clock.

    `tx.enlist` returns a dict: what the block puts into it is what the branch writes. A key that another branch has
    prepared is locked: prepare refuses.
    """

    def __init__(
        self,
        *,
        before: Fault | None = None,
        after: Fault | None = None,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self.values: dict[str, object] = {}
        self._branches = Branches[object]()
        self.states: dict[BranchId, BranchState] = self._branches.states
        self.before: Fault | None = before
        self.after: Fault | None = after
        self.requests: list[tuple[Request, BranchId]] = []
        self._clock = clock
        self._working: dict[BranchId, dict[str, object]] = {}

    async def begin(self, branch: BranchId) -> dict[str, object]:
        """The dict of what the branch will write."""
        return self._working.setdefault(branch, {})

    async def can_commit(self, branch: BranchId) -> Answer:
        """Whether no key is locked."""
        return await self._serve(Request.CAN_COMMIT, branch)

    async def prepare(self, branch: BranchId) -> Answer:
        """Lock the keys."""
        return await self._serve(Request.PREPARE, branch)

    async def pre_commit(self, branch: BranchId) -> Answer:
        """As prepare."""
        return await self._serve(Request.PREPARE, branch, CommitProtocol.THREE_PHASE)

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
        return list(self._branches.prepared)

    async def waiting(self) -> Sequence[Waiting]:
        """The branches that are prepared, with protocol and age."""
        return self._branches.waiting(self._clock())

    async def prepared(self) -> Sequence[Prepared]:
        """The branches that are prepared, with age and the keys that each holds."""
        return self._branches.listed(self._clock())

    async def _serve(
        self, request: Request, branch: BranchId, protocol: CommitProtocol = CommitProtocol.TWO_PHASE
    ) -> Answer:
        self.requests.append((request, branch))
        if self.before is not None and (instead := await self.before(request, branch)) is not None:
            return instead
        answer = self._carry_out(request, branch, protocol)
        if self.after is not None and (instead := await self.after(request, branch)) is not None:
            return instead
        return answer

    def _carry_out(self, request: Request, branch: BranchId, protocol: CommitProtocol) -> Answer:
        writes = self._working.get(branch)
        work: Work[object] | None = None if writes is None else Work({}, {**writes})
        reply, change = self._branches.decide(request, branch, work, self.values.get, protocol, self._clock())
        if change is not None:
            before = self._branches.apply(change)
            if before is not None and change.state is BranchState.COMMITTED:
                self.values |= before.redo
        if request in (Request.PREPARE, Request.ABORT) or change is not None:
            self._working.pop(branch, None)
        return reply.answer
