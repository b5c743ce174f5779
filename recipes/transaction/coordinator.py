"""Atomic commit: all branches of a transaction commit or none does, whichever process dies, in two phases or three."""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio

from recipes.core import paths
from recipes.core.errors import (
    BadArguments,
    ParticipantError,
    RecipesError,
    StoreError,
    TransactionAborted,
    TransactionInDoubt,
    UnknownTransaction,
)
from recipes.hold import RELEASED
from recipes.membership.group import Membership
from recipes.shared_settings import agree
from recipes.transaction import asking
from recipes.transaction.driver import Driver
from recipes.transaction.home import COORDINATORS, RECORDS
from recipes.transaction.opening import Openings, in_words, is_away
from recipes.transaction.participant import BranchId, ThreePhaseParticipant, TransactionParticipant, check_name
from recipes.transaction.record import Decision, Record, Records, takes_part
from recipes.transaction.recovery import Recovery
from recipes.transaction.stages import DECIDED, CommitProtocol, Event, Stage
from recipes.transaction.stats import CoordinatorStats

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL

log: logging.Logger = logging.getLogger("recipes.transaction")

_FORMAT = "recipes transactions 1"
_LEAVING_SECONDS = 2.0  # how long the end of the coordinator's block waits for transactions to be settled


class Coordinator:
    """`async with Coordinator(client, "/transactions", participants={"orders": ..., "stock": ...}) as coordinator:`

    client: a connected Client. A coordinator ends with its session; other coordinators end what it leaves.
    path: the parent of the records; made when missing.
    participants: those that may take part, by name. Records hold only the names, never how to reach a database.
    name: of the fleet, "default" without it. The processes of one path and name are a fleet: when one dies, another one
        ends what it left undecided or unsettled. All of them have participants of the same names.
    serve: whether this process takes its turn at ending what others left.
    acl: of all znodes made here; without it everybody may do everything.

    Entering awaits `open()` of each participant that has it, for 5 s at most. A participant that is away is logged, and
    tried again and again, with pauses of up to 30 s; transactions without it go on meanwhile. Any other error of an
    `open` is raised, such as ConfigError for a server's settings. Raises SettingsDiffer when the fleet was set up with
    other participants, BadArguments for an invalid name, and what every call of the client raises.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        *,
        participants: Mapping[str, TransactionParticipant],
        name: str | None = None,
        serve: bool = True,
        acl: "Sequence[ACL] | None" = None,
    ) -> None:
        if not participants:
            raise BadArguments(path, "participants={}: expected at least one")
        self._client = client
        self._participants = {check_name(each): participant for each, participant in participants.items()}
        self._home = paths.join(paths.check(path), check_name("default" if name is None else name))
        self._acl = acl
        self._records = Records(client, paths.join(self._home, RECORDS), acl)
        self._serve = serve
        self._fleet = ""
        self._own = ""
        self._place: Membership | None = None
        self._open = False
        self._drivers: set[Driver] = set()
        self._ended: Counter[Decision | None] = Counter()  # None: in doubt
        self._idle = anyio.Event()
        self._recovery: Recovery | None = None
        self._openings = Openings(self._participants, client.random)

    async def __aenter__(self) -> Self:
        if self._own:
            raise RuntimeError("a Coordinator is entered once: make another one")
        # A client with `renew` goes on with another session. A coordinator does not: its znode is gone with the first.
        self._client = self._client.bound
        self._records = Records(self._client, paths.join(self._home, RECORDS), self._acl)
        await self._openings.begin()
        names = ",".join(sorted(self._participants))
        made = {"fleet": f"{self._client.random.getrandbits(32):08x}"}
        await agree(self._client, self._home, {"participants": names}, self._acl, first=made)
        self._fleet = json.loads((await self._client.get(self._home))[0])["fleet"]
        await agree(self._client, self._records.folder, {"format": _FORMAT}, self._acl)
        self._place = Membership(self._client, paths.join(self._home, COORDINATORS), b"", self._acl)
        await self._place.enter(as_block=False)
        self._own = self._place.path
        self._recovery = Recovery(self._client, self._home, self._records, self._participants, self._fleet)
        if self._serve:
            self._client.look_after(self._recovery.run)
        if self._openings.away:
            self._client.look_after(self._openings.run)
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._openings.stop()
        with anyio.move_on_after(_LEAVING_SECONDS):
            while any(driver.stage is not Stage.IN_DOUBT for driver in self._drivers):
                self._idle = anyio.Event()
                await self._idle.wait()
            if self._recovery is not None and not self._client.session.lost:
                await self._recovery.flush()
        for driver in self._drivers:
            driver.stop()
        if self._recovery is not None:
            self._recovery.stop()
        # Once our znode is gone, other coordinators end what we left unsettled.
        if self._place is not None:
            with suppress(RecipesError):  # the session is over, and our znode with it
                await self._place.release(RELEASED)

    def begin(self, *, protocol: str = "2pc", deadline: float = 10.0) -> "GlobalTransaction":
        """`async with coordinator.begin() as tx:` the block's end commits, an exception aborts.

        protocol: "2pc" or "3pc". deadline: seconds from now, for the block and for all participants to agree. After the
        decision the end of the block waits, until the same deadline, for the participants to prove the outcome. Raises
        SessionExpired or ClientClosed when the session is over: a coordinator ends with it, and a new one is needed.

        The end of the block raises TransactionAborted, which says who refused and why, or TransactionInDoubt when the
        outcome could not be learned. An exception of the block itself is raised unchanged.
        """
        if not self._open:
            raise RuntimeError("transactions begin inside `async with Coordinator(...) as coordinator`")
        self._client.session_scope()  # raises once the session is over: nothing could be committed any more
        if not isinstance(deadline, int | float) or not 0 < deadline < 1e6:
            raise BadArguments(self._home, f"deadline={deadline!r}: expected seconds, more than 0 and below 1000000")
        try:
            chosen = CommitProtocol(protocol)
        except ValueError:
            raise BadArguments(self._home, f'protocol={protocol!r}: expected "2pc" or "3pc"') from None
        number = self._client.random.getrandbits(64)
        # Random bits and the store's epoch: they need no configuration, and no restart repeats them.
        epoch = 0 if self._place is None else self._place.fence >> 32
        record = Record(f"{epoch:x}-{number:016x}", chosen, (), self._own, float(deadline))
        ends_at = self._client.clock() + deadline
        driver = Driver(record, self._records, self._participants, self._fleet, ends_at=ends_at)
        return GlobalTransaction(self, driver, deadline)

    @property
    def participants(self) -> Mapping[str, TransactionParticipant]:
        """The participants that may take part, by name."""
        return MappingProxyType(self._participants)

    def stats(self) -> CoordinatorStats:
        """Figures of this process, for monitoring."""
        now = self._client.clock()
        under_way = [driver for driver in self._drivers if driver.decision is None]
        recovery = self._recovery
        return CoordinatorStats(
            self._ended[Decision.COMMIT],
            self._ended[Decision.ABORT],
            self._ended[None],
            len(under_way),
            len(self._drivers) - len(under_way),
            max((now - driver.began_at for driver in self._drivers), default=0.0),
            recovery is not None and recovery.serving,
            0 if recovery is None else recovery.left,
            0 if recovery is None else recovery.recovered,
            len(self._openings.away),
        )

    @property
    def fleet(self) -> str:
        """The id of the fleet: the part that all global ids of this path and name share."""
        return self._fleet

    async def join(self, transaction: str, name: str) -> Any:
        """Add the participant `name` to a transaction that is preparing; return what the participant's `begin` returns.

        For work that one participant causes at another while it prepares, in this or another process of the fleet. The
        join competes with the decision: once joined, the participant must vote before anybody may commit. Raises
        TransactionAborted when the decision came first; the participant's work is then undone. Raises
        UnknownTransaction when the transaction has no record (yet, or any more); BadArguments when the participant
        takes part already, since its vote may have been given; ParticipantError and BadArguments as `enlist` does.
        After SessionExpired, ConnectionLoss or a cancellation nobody here knows whether the participant has joined: its
        work is not undone here, and the coordinator that ends the transaction asks it.
        """
        participant = self._participant(name)
        branch = BranchId(self._fleet, transaction, name)
        await self._openings.ensure(name)
        if (found := await self._records.read(transaction)) is not None and name in found.branches:
            raise takes_part(found, name)  # before it begins: nobody would end this work
        result = await self._begin_branch(branch)
        try:
            record = await self._records.join(transaction, name)
        except BadArguments:  # it takes part, by another task, and may have voted
            raise
        except (UnknownTransaction, StoreError):
            await self._undo(participant, branch)
            raise
        # After any other error the participant may have joined and voted: its work must not be undone here.
        if name not in record.branches:
            await self._undo(participant, branch)
            decided = "" if record.decision is None else record.decision.value
            raise TransactionAborted(transaction, f"{name} joined too late: {decided} was decided before")
        return result

    async def _begin_branch(self, branch: BranchId) -> Any:
        begin = getattr(self._participants[branch.participant], "begin", None)
        try:
            return branch if begin is None else await begin(branch)
        except Exception as error:
            if isinstance(error, ParticipantError) or not is_away(error):
                raise
            raise ParticipantError(branch.participant, in_words(error)) from error

    async def _end_late(self, driver: Driver, branch: BranchId) -> None:
        """Undo a branch that may have begun after its driver asked it to end, once abort is decided. A caller that is
        cancelled waits no longer, and leaves it to the client's task."""
        ended = anyio.Event()

        async def end() -> None:
            with anyio.CancelScope(shield=True):  # when the client ends, the driver does
                # Before the decision its participant must not be told to abort: perhaps it has voted yes, for work that
                # another task enlisted.
                await driver.wait_decided()
                if driver.decision is Decision.ABORT:
                    await self._undo(self._participants[branch.participant], branch)
            ended.set()

        try:
            self._client.session_scope()
        except RecipesError:  # the client takes no work any more
            await end()
        else:
            self._client.look_after(end)
            await ended.wait()

    async def _undo(self, participant: TransactionParticipant, branch: BranchId) -> None:
        """Abort a branch that nobody else will ask."""
        with anyio.move_on_after(asking.ASK_SECONDS, shield=True):
            await asking.ask(participant, branch, "abort")

    def _participant(self, name: str) -> TransactionParticipant:
        participant = self._participants.get(name)
        if participant is None:
            known = ", ".join(sorted(self._participants))
            raise BadArguments("", f"{name!r} is no participant of this coordinator: expected one of {known}")
        return participant

    async def _carry_out(self, driver: Driver) -> None:
        """Run the driver in a task of the client. Wait for the decision, and then for its proof until the deadline; or
        until the session is over."""
        try:
            scope = self._client.session_scope()
        except RecipesError as error:  # nothing was recorded, so nobody prepared: the branches are undone here
            driver.lost(str(error))
            self._ended[Decision.ABORT] += 1
            with anyio.move_on_after(_LEAVING_SECONDS, shield=True):
                await driver.run()
            return
        self._drivers.add(driver)
        self._client.look_after(lambda: self._run(driver))
        with scope:
            # After the deadline the abort must still be written. A store that is away ends our session in this time.
            scope.limit(driver.left_seconds() + self._client.session.timeout)
            await driver.wait_decided()
            scope.limit(driver.left_seconds())
            await driver.wait_settled()
        if driver.is_unprepared:
            if scope.ended.is_set():  # the work is undone now; a client that closes would wait for the driver before
                driver.stop()
            with anyio.move_on_after(_LEAVING_SECONDS, shield=True):
                await driver.wait_decided()

    async def _run(self, driver: Driver) -> None:
        try:
            await driver.run()
            if driver.stage is Stage.SETTLED and self._recovery is not None and driver.record.decision is not None:
                self._recovery.remove(driver.record)
        except Exception:
            log.exception("transaction %s failed here; another coordinator ends it", driver.record.id)
        finally:
            await driver.undo(_LEAVING_SECONDS)
            self._drivers.discard(driver)
            self._ended[driver.decision] += 1
            driver.finish()
            self._idle.set()


class GlobalTransaction:
    """One transaction, in its block; see `Coordinator.begin`."""

    def __init__(self, coordinator: Coordinator, driver: Driver, deadline: float) -> None:
        self._coordinator = coordinator
        self._driver = driver
        self._deadline = deadline
        self._scope: anyio.CancelScope | None = None
        self._left = False

    def __repr__(self) -> str:
        return f"<GlobalTransaction {self.id}: {self._driver.stage.name.lower()}>"

    @property
    def id(self) -> str:
        """The transaction's id, unique for ever in this store."""
        return self._driver.record.id

    @property
    def outcome(self) -> str | None:
        """The decision, "commit" or "abort"; None before it is made, and when it could not be learned."""
        decision = self._driver.decision
        return None if decision is None else decision.value

    @property
    def unsettled(self) -> Mapping[str, str]:
        """The participants that have not proved the outcome yet, with their last answers."""
        return MappingProxyType(self._driver.unsettled)

    async def enlist(self, name: str) -> Any:
        """Let the participant `name` take part; return what its `begin` returns, for the block to work with.

        Raises ParticipantError, which names the participant, if one try does not reach it; BadArguments for a name that
        the coordinator does not have, or a participant that cannot serve the protocol; RuntimeError outside the block;
        and any other error of the participant. After the block use `Coordinator.join`.
        """
        if self._scope is None or self._left:
            raise RuntimeError("participants enlist inside `async with coordinator.begin() as tx`")
        driver = self._driver
        participant = self._coordinator._participant(name)
        if driver.record.protocol is CommitProtocol.THREE_PHASE and not isinstance(participant, ThreePhaseParticipant):
            raise BadArguments("", f"{name!r} has no can_commit and pre_commit: 3pc needs both")
        branch = BranchId(self._coordinator.fleet, self.id, name)
        await self._coordinator._openings.ensure(name)
        if self._left:  # the others have voted, perhaps
            raise RuntimeError(f"the block ended while the participant {name!r} was being opened")
        if name not in driver.record.branches:
            driver.record = driver.record._replace(branches=(*driver.record.branches, name))
        try:
            result = await self._coordinator._begin_branch(branch)
        finally:  # also after an error or a cancellation: it may have begun all the same
            if self._left:
                await self._coordinator._end_late(driver, branch)
        if self._left:
            raise RuntimeError(f"the block ended while the participant {name!r} began its branch")
        return result

    async def __aenter__(self) -> Self:
        if self._scope is not None:
            raise RuntimeError("a transaction is entered once: begin another one")
        self._scope = anyio.CancelScope(deadline=anyio.current_time() + self._deadline)
        self._scope.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        scope, driver = self._scope, self._driver
        if scope is None:
            raise RuntimeError("the transaction was not entered")
        self._left = True
        beside: BaseException | None = None
        try:
            scope.__exit__(kind, error, trace)
        except BaseException as rest:  # trio's scope raises what was in one group with its cancellation
            beside = rest
        timed_out = scope.cancelled_caught and beside is None
        if timed_out:
            driver.end_block(Event.TIME_UP, "time is up")
        elif error is not None:
            driver.end_block(Event.FAILED, f"the block raised {type(error).__name__}")
        elif not driver.record.branches:
            return False  # nobody takes part
        else:
            driver.end_block(Event.ENDED)
        try:
            await self._coordinator._carry_out(driver)
        finally:
            driver.give_up()
        if beside is not None:
            raise beside
        if error is None or timed_out:
            self._raise()
        return False

    def _raise(self) -> None:
        driver = self._driver
        if driver.stage not in DECIDED:
            raise TransactionInDoubt(self.id, driver.why)
        if driver.decision is Decision.ABORT:
            raise TransactionAborted(self.id, driver.why)
