"""Transactions in simulated runs: coordinators die, stand still and lose their sessions, databases go and come back.

R11: no two branches of a transaction end differently, each ends as its coordinator was told, and none commits unless
all have voted yes. R12: once a quorum, the databases and a coordinator are up, everything is decided, and nothing stays
prepared, within the bound of issue 12; when all is over, no record is left, and no branch that a block enlisted is at
work in a process that lives.

Traps make sure that everything dies in every stage: one is set for a stage, and goes off when the next transaction
comes there.
"""

import json
from collections import deque
from contextlib import suppress

import anyio

from recipes.core.errors import (
    ConnectionLoss,
    NoNode,
    ParticipantError,
    RecipesError,
    SessionError,
    TransactionAborted,
    TransactionInDoubt,
    UnknownTransaction,
)
from recipes.core.sim.chance import between
from recipes.core.sim.plan import LEADER, Fault
from recipes.transaction.branch import BranchState
from recipes.transaction.coordinator import Coordinator
from recipes.transaction.participant import BranchId
from recipes.transaction.stages import Stage
from recipes.transaction.termination import Termination
from tests.simulation.recipes.databases import Database, Participant
from tests.simulation.recipes.insiders import Insiders
from tests.simulation.recipes.plan import Step

NAMES = ("ledger", "orders", "stock")
DEADLINE = 1.0
SETTLED_US = 20_000_000
LOOK_US = 20_000
RECORDS = "/transactions/default/records"
_ENDS = {BranchState.COMMITTED: "commit", BranchState.ABORTED: "abort"}
STAGES = (
    Stage.ASKING, Stage.RECORDING, Stage.PREPARING, Stage.DECIDING_COMMIT, Stage.DECIDING_ABORT, Stage.COMMITTING,
    Stage.ABORTING,
)  # fmt: skip
VICTIMS = (
    "coordinator dies", "coordinator stands still", "coordinator is cut off", "database dies", "database is cut off",
    "leader dies", "store loses power", "coordinator is deposed",
)  # fmt: skip


class Mine(Exception):
    """What a block raises."""


class Transactions(Insiders):
    """The Workload of a world; see World."""

    kinds = (*["2pc"] * 6, *["3pc"] * 4, "give up", "database", "trap")
    errors = (SessionError, TransactionAborted, TransactionInDoubt, ParticipantError)
    expected = (
        "2pc: commit", "3pc: commit", "2pc: TransactionAborted", "3pc: TransactionAborted", "gave up", "unsettled",
        "database down", "connection refused", "request lost", "answer lost", "request repeated", "forgotten",
        "cancelled", "died inside",
        "ended by another", "aborted for another", "cut off from a database", "joined late", "joined too late",
        "begun without a database", "refused, since it is away",
        "committed by time-out", "aborted by time-out", "decided by time-out",
        *(f"{victim}: {stage.name}" for victim in VICTIMS for stage in STAGES),
        "container removed",
    )  # fmt: skip

    def __init__(self, world):
        self.world = world
        self.databases = {name: Database(name, world, world.chance, self.ended) for name in NAMES}
        self.inside = {}
        self.ends = {}  # transaction -> {participant: "commit" or "abort"}
        self.told = {}  # transaction -> what its block was told
        self.owners = {}
        self.calmed = False
        self.ready = {}  # process -> an event: its coordinator has been entered
        self.deposed = set()  # (process, life) of coordinators
        self.joins = set()  # transactions that a branch joins late, or tries to
        self.enlisted = {}  # transaction -> its branches, by name
        self.traps = {stage: deque() for stage in STAGES}  # what happens when transactions come there, and for how long
        self.whole_since_us = None  # since when, the faults being over, there is a quorum, and a coordinator
        self.first_us = {}  # (what, whose) -> when it was first seen
        self.longest_us = {}  # what -> how long it lasted at most, from then or from when all was whole
        plan = world.plan
        slowest_pm = min((1000, *plan.rates_pm))
        # The bound, by the slowest clock; those of servers drift by 2 % at most.
        self.bound_us = (
            (DEADLINE * 1000 + plan.servers.timeout_ms + plan.servers.tick_ms + 2000) * 1_030_000 // slowest_pm
        )

    def open(self, process, client):
        """What steps of one session share: a coordinator, which is entered by the client's own task."""
        ready = self.ready[process] = anyio.Event()
        participants = {name: Participant(database, process) for name, database in self.databases.items()}
        coordinator = Coordinator(client, "/transactions", participants=participants)

        async def enter():
            try:
                await coordinator.__aenter__()
                if coordinator.stats().away:
                    self.world.count("begun without a database")
                ready.set()
            except (ParticipantError, OSError) as error:
                self.world.fail("R12", f"{process} serves nobody, since a database is away: {error!r}")
            except RecipesError:
                pass  # the session is over

        client.look_after(enter)
        # Every second process is that of a database, too.
        number = self.world.processes.index(process)
        if number % 2 == 0:
            client.look_after(lambda: self.time_out(process, client, NAMES[number // 2 % 2]))
        return client, coordinator, ready

    async def time_out(self, process, client, name):
        """End what its branches wait for, as long as the session lives."""
        own = Participant(self.databases[name], process, times_out=True)
        try:
            with client.session_scope():
                async with Termination(client, "/transactions", {name: own}, after=0.4) as termination:
                    decide = termination._decide_abort

                    async def counted(record):
                        self.world.count("decided by time-out")
                        return await decide(record)

                    termination._decide_abort = counted
                    await anyio.sleep_forever()
        except SessionError:
            pass

    async def act(self, process, opened, step):
        """Carry out a step."""
        client, coordinator, ready = opened
        if step.kind in ("database", "trap") and self.calmed:
            return
        if step.kind == "database":
            database = self.databases[NAMES[step.key]]
            if step.number % 3 == 0:
                database.crash(step.for_us * 4 + 1_000)
            elif step.number % 3 == 1:
                database.cut(process, step.for_us * 8 + 200_000)
            elif not database.lossy:
                database.lossy = True
                self.world.timeline.after(step.for_us * 8 + 200_000, self.mend, database)
            return
        if step.kind == "trap":
            stage = STAGES[step.number % len(STAGES)]
            self.traps[stage].append((VICTIMS[step.number // len(STAGES) % len(VICTIMS)], step.for_us))
            return
        while not ready.is_set():
            client.session_scope()  # raises once the session is over
            await anyio.sleep(0.01)
        try:
            self.inside[process, step.number] = process.life
            await self.transact(process, coordinator, step)
        finally:
            self.inside.pop((process, step.number), None)

    def mend(self, database):
        database.lossy = False

    async def transact(self, process, coordinator, step):
        protocol = "3pc" if step.kind == "3pc" else "2pc"
        tx = coordinator.begin(protocol=protocol, deadline=DEADLINE)
        self.owners[tx.id] = process, process.life
        self.follow(process, coordinator, tx._driver)
        try:
            async with tx:
                for name in NAMES[: 2 + step.number % 2]:
                    self.enlisted.setdefault(tx.id, {})[name] = BranchId(coordinator.fleet, tx.id, name)
                    try:
                        await tx.enlist(name)
                    except ParticipantError:
                        self.world.count("refused, since it is away")
                        raise
                await anyio.sleep(min(step.for_us, 1_500_000) / 1e6)
                if step.kind == "give up":
                    raise Mine
        except Mine:
            self.world.count("gave up")
            self.tell(tx, "abort")
        except TransactionAborted as error:
            # One that is deposed while it decides may read what was decided for it.
            if "its coordinator is gone" in str(error) and (process, process.life) not in self.deposed:
                self.world.fail("R11", f"{tx} was taken from its coordinator, which lives")
            self.tell(tx, "abort")
            raise
        else:
            self.world.count(f"{protocol}: commit")
            if tx.unsettled:
                self.world.count("unsettled")
            self.tell(tx, "commit")

    def follow(self, process, coordinator, driver):
        """Hear of the stages of a transaction."""
        note = driver._note

        def noted(*event):
            before = driver.stage
            note(*event)
            if driver.stage is not before:
                self.reached(process, coordinator, driver)

        driver._note = noted

    def reached(self, process, coordinator, driver):
        stage, timeline = driver.stage, self.world.timeline
        late_us = between(self.world.chance, 0, 3_000)
        if self.traps.get(stage):
            timeline.after(late_us, self.spring, process, coordinator, *self.traps[stage].popleft(), stage)
        joins = stage in (Stage.RECORDING, Stage.COMMITTING) and len(driver.record.branches) == 2
        if joins and NAMES[2] not in self.enlisted.get(driver.record.id, ()):
            # Once: a second try of one that has joined would undo what nobody asks for any more.
            if between(self.world.chance, 0, 4) == 0 and driver.record.id not in self.joins:
                self.joins.add(driver.record.id)
                coordinator._client.look_after(lambda: self.join(process, coordinator, driver.record.id))

    def spring(self, process, coordinator, victim, for_us, stage):
        """A trap goes off."""
        world = self.world
        if self.calmed or not process.up:
            return
        world.count(f"{victim}: {stage.name}")
        database = self.databases[NAMES[0]]
        if victim == "coordinator dies":
            world.nemesis.strike(process, Fault(0, "crash", 0, for_us + 1_000, 0))
        elif victim == "coordinator stands still":
            world.nemesis.strike(process, Fault(0, "long pause", 0, 0, for_us))
        elif victim == "coordinator is cut off":
            world.nemesis.strike(process, Fault(0, "cut off", 0, for_us, for_us))
        elif victim == "database dies":
            database.crash(for_us * 4 + 1_000)
        elif victim == "database is cut off":
            database.cut(process, for_us * 8 + 200_000)
        elif victim == "leader dies":
            world.ensemble.nemesis.strike(Fault(0, "kill", LEADER, for_us + 20_000, 0))
        elif victim == "store loses power":
            world.ensemble.nemesis.strike(Fault(0, "power cut of all", 1, for_us, 0))
        else:
            coordinator._client.look_after(lambda: self.depose(process, coordinator))

    async def depose(self, process, coordinator):
        """Its session goes on, but it is none of the coordinators any more, and stands still so that it learns late."""
        self.deposed.add((process, process.life))
        with suppress(NoNode, ConnectionLoss, SessionError):
            await coordinator._client.delete(coordinator._own)
            if not self.calmed:
                self.world.timeline.after(1, process.pause, self.world.plan.servers.timeout_ms * 700)

    async def join(self, process, coordinator, transaction):
        """A third branch comes late, by itself."""
        try:
            await coordinator.join(transaction, NAMES[2])
        except (UnknownTransaction, TransactionAborted, OSError):
            self.world.count("joined too late")
        except ParticipantError:
            pass  # its database is away, so it was not asked
        except SessionError:
            pass  # nobody knows whether it has joined
        else:
            self.world.count("joined late")
            branch = BranchId(coordinator.fleet, transaction, NAMES[2])
            self.enlisted.setdefault(transaction, {})[NAMES[2]] = branch
        finally:
            # If its coordinator is lost before it asks, nobody ends its work in this process.
            self.databases[NAMES[2]].held.pop(BranchId(coordinator.fleet, transaction, NAMES[2]), None)

    def tell(self, tx, outcome):
        self.told[tx.id] = outcome
        if tx.outcome != outcome:
            self.world.fail("R11", f"{tx} ends with {outcome}, and says {tx.outcome}")
        self.judge(tx.id)

    def ended(self, branch, state, by):
        """A branch has come to an end at its database."""
        if state in _ENDS:
            if by.times_out:
                self.world.count("committed by time-out" if state is BranchState.COMMITTED else "aborted by time-out")
            if state is BranchState.COMMITTED:
                for name, each in self.enlisted[branch.transaction].items():
                    if each not in self.databases[name].yes:
                        self.world.fail("R11", f"{branch} commits, and {name} has not voted yes")
            if self.takes_part(branch):
                self.ends.setdefault(branch.transaction, {})[branch.participant] = _ENDS[state]
                self.judge(branch.transaction)
            process, life = self.owners[branch.transaction]
            if (process.life, process.up) != (life, True):
                self.world.count("ended by another" if state is BranchState.COMMITTED else "aborted for another")

    def takes_part(self, branch):
        """Not one that came too late. Of one that joined in a session which is lost by now the record tells."""
        if branch.participant in self.enlisted[branch.transaction]:
            return True
        record = self.world.reference.tree.nodes.get(f"{RECORDS}/{branch.transaction}".encode())
        return record is not None and branch.participant in json.loads(record.data)["branches"]

    def judge(self, transaction):
        found = set(self.ends.get(transaction, {}).values())
        if transaction in self.told:
            found.add(self.told[transaction])
        if len(found) > 1:
            self.world.fail(
                "R11",
                f"{transaction}: {self.ends.get(transaction)}, and its block was told {self.told.get(transaction)}",
            )

    def probes(self):
        """Steps that must succeed at once when nothing goes wrong."""
        return [Step(0, 0, kind, 0, 1_000_000 + number, 0, -1, "") for number, kind in enumerate(("2pc", "3pc"))]

    def event(self, process, kind, path):
        """A watch event has come in."""

    def calm(self):
        """The faults end."""
        self.calmed = True
        for database in self.databases.values():
            database.calm()
        self.look()

    def look(self):
        """Whether anything has been undecided, or prepared, for longer than the bound."""
        world, now_us = self.world, self.world.timeline.now_us
        nodes = world.ensemble.nodes.values()
        serving = sum(node.up and node.member.serving for node in nodes)
        # A coordinator may wait for 5 s for an answer that was lost before it is entered.
        entered = any(process.up and ready.is_set() for process, ready in self.ready.items())
        if world.ensemble.leader() is None or 2 * serving <= len(nodes) or not entered:
            self.whole_since_us = None
        elif self.whole_since_us is None:
            self.whole_since_us = now_us
        there = {("prepared", str(branch)) for each in self.databases.values() for branch in each.prepared()}
        there |= {("undecided", name) for name, record in self.records() if "decision" not in record}
        self.first_us = {each: self.first_us.get(each, now_us) for each in there}
        if self.whole_since_us is not None:
            for each, first_us in self.first_us.items():
                lasts_us = now_us - max(first_us, self.whole_since_us)
                self.longest_us[each[0]] = max(lasts_us, self.longest_us.get(each[0], 0))
                if lasts_us > self.bound_us:
                    world.fail("R12", f"{each[1]} is {each[0]} for more than {self.bound_us / 1e6:.1f} s")
        world.timeline.after(LOOK_US, self.look)

    def records(self):
        """Those in the store."""
        tree = self.world.reference.tree
        for name in tree.children_names(RECORDS.encode()):
            yield name.decode(), json.loads(tree.find(RECORDS.encode() + b"/" + name).data)

    def quiet(self):
        """The faults are over: everything is decided, proved and removed."""
        self.world.wait("R12", self.unsettled, SETTLED_US)

    def unsettled(self):
        for process, ready in self.ready.items():
            if process.up and not ready.is_set():  # it may wait for an answer that was lost, for 5 s
                return f"the coordinator of {process} is not entered"
        for database in self.databases.values():
            for branch in database.prepared():
                return f"{branch} is still prepared"
            for branch, (process, life) in database.held.items():
                if (process.life, process.up) == (life, True):
                    return f"{branch} is still at work in {process}, and holds its locks"
        if left := [name for name, _ in self.records()]:
            return f"{len(left)} records are left: {left[:3]}"
        return None

    def finish(self):
        for transaction, outcome in self.told.items():
            ends = self.ends.get(transaction, {})
            if outcome == "commit" and "abort" in ends.values():
                self.world.fail("R11", f"{transaction} was committed: {ends}")
