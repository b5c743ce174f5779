"""Three-phase commit's time-outs: a branch that stays prepared for too long asks how its transaction ended.

It runs in the process of the participant. A branch holds its locks until it learns the outcome; here it reads the
decision record itself, without waiting for a coordinator. A transaction that a dead coordinator left undecided is
aborted. Anybody may do that, since a coordinator whose znode is gone cannot commit any more.

Source: Skeen, Nonblocking Commit Protocols (1981), the termination protocol; the decision record takes the place of the
other sites, which a branch asks there.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Literal, Self

import anyio

from recipes.core import paths
from recipes.core.client.backoff import pauses
from recipes.core.client.task import start_task
from recipes.core.errors import BadArguments, NoNode, RecipesError, UnknownTransaction
from recipes.transaction import asking
from recipes.transaction.home import RECORDS, living_coordinators
from recipes.transaction.participant import BranchId, TransactionParticipant, Waiting, check_name
from recipes.transaction.record import Decision, Record, Records
from recipes.transaction.stages import CommitProtocol

if TYPE_CHECKING:
    from recipes.core.client.client import Client

log: logging.Logger = logging.getLogger("recipes.transaction")

OnTimeout = Literal["ask", "commit"]

_AT_ONCE = 16  # branches of one participant that are asked about


class Finding(Enum):
    """What the store knows of a branch's transaction."""

    COMMIT = "commit is decided"
    ABORT = "abort is decided"
    RUNNING = "nothing is decided, and its coordinator lives"
    LEFT = "nothing is decided, and its coordinator is gone"
    NO_RECORD = "there is no record of it, or one without this branch"


class Action(Enum):
    """What is done with the branch."""

    COMMIT = "commit it"
    ABORT = "abort it"
    DECIDE_ABORT = "write the decision to abort, and do what is decided then"
    WAIT = "wait, and hold its locks"
    LEAVE = "leave it for an operator"


ACTIONS: MappingProxyType[Finding, Action] = MappingProxyType(
    {
        Finding.COMMIT: Action.COMMIT,
        Finding.ABORT: Action.ABORT,
        Finding.RUNNING: Action.WAIT,
        Finding.LEFT: Action.DECIDE_ABORT,
        Finding.NO_RECORD: Action.LEAVE,
    }
)


def find(record: Record | None, participant: str, living: set[str]) -> Finding:
    """What a record means for one of its branches. living: names of the coordinators that are alive.

    `living` must be read before the record: an owner that is not in it was gone by then, and decides nothing later.
    """
    if record is None or participant not in record.branches:
        return Finding.NO_RECORD
    if record.decision is not None:
        return Finding.COMMIT if record.decision is Decision.COMMIT else Finding.ABORT
    return Finding.RUNNING if record.owner.rpartition("/")[2] in living else Finding.LEFT


def commits_by_itself(on_timeout: OnTimeout, protocol: CommitProtocol) -> bool:
    """Whether a branch commits when its time is up, without asking: the textbook's three-phase commit."""
    return on_timeout == "commit" and protocol is CommitProtocol.THREE_PHASE


class Termination:
    """`async with Termination(client, "/transactions", {"files": participant}):` end branches that waited too long.

    client: a connected Client; made with `renew`, it goes on after the loss of a session. path, name: of the
        coordinators, see Coordinator. participants: those of this process, by their names at the coordinators.
    after: seconds that a branch stays prepared before it asks; from then on it asks again and again.
    on_timeout: with "ask", a branch reads the decision record, and waits while the store cannot be reached. With
        "commit", the textbook's rule, a branch that was prepared under 3pc commits by itself when its time is up,
        whether the store can be reached or not. Outcomes can differ then: under a partition the coordinator may have
        decided to abort. "commit" is for showing that.

    For a participant without `waiting()`, time counts from when its `recover()` first named the branch here. A branch
    that was prepared under 2pc or an unknown protocol never commits by itself.

    A branch whose transaction has no record is an orphan: it is logged once, and left. Raises BadArguments for invalid
    arguments.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        participants: Mapping[str, TransactionParticipant],
        *,
        name: str | None = None,
        after: float = 10.0,
        on_timeout: OnTimeout = "ask",
    ) -> None:
        home = paths.join(paths.check(path), check_name("default" if name is None else name))
        if not participants:
            raise BadArguments(home, "participants={}: expected at least one")
        if not isinstance(after, int | float) or not 0 < after < 1e6:
            raise BadArguments(home, f"after={after!r}: expected seconds, more than 0 and below 1000000")
        if on_timeout not in ("ask", "commit"):
            raise BadArguments(home, f'on_timeout={on_timeout!r}: expected "ask" or "commit"')
        self._client = client
        self._home = home
        self._records = Records(client, paths.join(home, RECORDS))
        self._participants = {check_name(each): participant for each, participant in participants.items()}
        self._after = after
        self._on_timeout: OnTimeout = on_timeout
        self._fleet = ""
        self._seen: dict[BranchId, float] = {}  # when each was first seen, without `waiting`
        self._missed: dict[BranchId, int] = {}  # how often no record was found
        self._unreachable = False
        self._scope: anyio.CancelScope | None = None  # made where the event loop is
        self._ended = anyio.Event()
        self._task: object = None  # asyncio keeps no reference to it

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise RuntimeError("a Termination is entered once: make another one")
        await self._learn_fleet()
        self._scope = scope = anyio.CancelScope()
        self._task = start_task(lambda: self._run(scope), "recipes-termination") or self
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scope is None:
            raise RuntimeError("the Termination was not entered")
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._ended.wait()

    async def _run(self, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                async with anyio.create_task_group() as group:
                    for name, participant in self._participants.items():
                        group.start_soon(self._watch, name, participant)
        except Exception:
            log.exception("the Termination of %s has failed: branches that wait for too long keep waiting", self._home)
        finally:
            self._ended.set()

    async def _watch(self, name: str, participant: TransactionParticipant) -> None:
        """Watch one participant, in a task of its own: one that hangs delays no other."""
        pause = min(1.0, self._after / 2)
        rounds = pauses(self._client.random, shortest=pause, longest=pause, least=0.5)
        while True:
            await self._look(name, participant)
            await anyio.sleep(next(rounds))

    async def _look(self, name: str, participant: TransactionParticipant) -> None:
        late: list[Waiting] = []
        try:
            with anyio.move_on_after(asking.ASK_SECONDS):
                late = await self._late(name, participant)
        except Exception as error:  # it is away; a participant may raise anything
            log.debug("%s: %s", name, error, exc_info=True)
        asks: list[BranchId] = []
        for branch, protocol, seconds in late:
            if self._fleet and commits_by_itself(self._on_timeout, protocol):
                log.warning("the branch %s commits by itself, after %.3g s without an outcome", branch, seconds)
                await self._tell(branch, Decision.COMMIT)
            else:
                asks.append(branch)
        self._missed = {
            branch: times for branch, times in self._missed.items() if branch.participant != name or branch in asks
        }
        if asks:
            # With a limit: meanwhile other branches may become due that commit by themselves.
            with anyio.move_on_after(max(self._after, asking.ASK_SECONDS)):
                await self._ask(asks)

    async def _late(self, name: str, participant: TransactionParticipant) -> list[Waiting]:
        """Our branches of this participant that have been prepared for too long."""
        if (waiting := getattr(participant, "waiting", None)) is not None:
            found: Sequence[Waiting] = await waiting()
        else:
            now, seen = self._client.clock(), self._seen
            prepared = await participant.recover()
            self._seen = {branch: seen.get(branch, now) for branch in prepared} | {
                branch: since for branch, since in seen.items() if branch.participant != name
            }
            found = [Waiting(branch, CommitProtocol.TWO_PHASE, now - self._seen[branch]) for branch in prepared]
        # A database may be known by several names, and to several fleets.
        ours = [each for each in found if each.branch.participant == name and self._fleet in ("", each.branch.fleet)]
        return [each for each in ours if each.seconds >= self._after]

    async def _ask(self, branches: list[BranchId]) -> None:
        """Look up how the branches' transactions ended, and end the branches alike."""
        # In one session: the next session may begin at a server that lags behind.
        client = self._client.bound
        records = Records(client, self._records.folder)
        try:
            # A branch's record is written before the branch prepares: reads after this sync show it.
            await client.sync(self._home)
            if not self._fleet:
                await self._learn_fleet()
            living = await living_coordinators(client, self._home)
        except RecipesError as error:
            self._say_unreachable(error)
            return
        self._unreachable = False
        limiter = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as group:
            for branch in branches:
                if branch.fleet == self._fleet:
                    group.start_soon(self._end, branch, records, living, limiter)

    async def _end(self, branch: BranchId, records: Records, living: set[str], limiter: anyio.CapacityLimiter) -> None:
        async with limiter:
            try:
                record = await records.read(branch.transaction)
                action = ACTIONS[find(record, branch.participant, living)]
                if action is Action.DECIDE_ABORT and record is not None:
                    action = await self._decide_abort(record)
            except UnknownTransaction:
                return  # it was decided and settled meanwhile: our branch has ended, too
            except RecipesError as error:
                log.warning("the branch %s waits, since its record cannot be read: %s", branch, error)
                return
            if action is Action.LEAVE:
                self._say_orphan(branch)
            elif action is not Action.WAIT:
                await self._tell(branch, Decision.COMMIT if action is Action.COMMIT else Decision.ABORT)

    async def _decide_abort(self, record: Record) -> Action:
        """Decide to abort; return the action for the decision that stands: somebody may have been quicker."""
        while record.decision is None:
            # The guard is no znode of ours: we hold no term that could end, and an owner that is gone stays gone.
            why = "its coordinator is gone"
            record = await self._records.decide(record, Decision.ABORT, self._records.folder, why)
        return Action.COMMIT if record.decision is Decision.COMMIT else Action.ABORT

    async def _tell(self, branch: BranchId, decision: Decision) -> None:
        if what_it_says := await asking.tell(self._participants, branch, decision):
            log.info("the branch %s has not confirmed the %s: %s", branch, decision.value, what_it_says)

    async def _learn_fleet(self) -> None:
        try:
            data, _ = await self._client.get(self._home)
        except NoNode:
            return  # no coordinator has been there yet
        try:
            self._fleet = str(json.loads(data)["fleet"])
        except (ValueError, KeyError, TypeError):
            raise BadArguments(self._home, f"expected the path of coordinators, found {data[:60]!r}") from None

    def _say_orphan(self, branch: BranchId) -> None:
        # One miss is no proof: the transaction may have been settled meanwhile.
        times = self._missed[branch] = self._missed.get(branch, 0) + 1
        if times == 2:
            log.warning("the branch %s is an orphan: it is prepared, and its transaction has no record", branch)

    def _say_unreachable(self, error: Exception) -> None:
        if not self._unreachable:
            self._unreachable = True
            log.warning("the store cannot be reached: branches wait, and hold their locks: %s", error)
