"""Transactions in simulated runs: coordinators die, stand still and lose their sessions, databases go and come back.

R11: no two branches of a transaction end differently, and each ends as its coordinator was told. R12: when the faults
are over, everything is decided and proved, nothing stays prepared, and no record is left.
"""

import anyio

from recipes.core.errors import RecipesError, SessionError, TransactionAborted, TransactionInDoubt
from recipes.transaction.branch import BranchState
from recipes.transaction.coordinator import Coordinator
from tests.simulation.recipes.databases import Database, Participant
from tests.simulation.recipes.plan import Step

NAMES = ("ledger", "orders", "stock")
DEADLINE = 1.0
SETTLED_US = 20_000_000
_ENDS = {BranchState.COMMITTED: "commit", BranchState.ABORTED: "abort"}


class Mine(Exception):
    """What a block raises."""


class Transactions:
    """The Workload of a world; see World."""

    kinds = (*["2pc"] * 6, *["3pc"] * 4, "give up", "database")
    errors = (SessionError, TransactionAborted, TransactionInDoubt)
    expected = (
        "2pc: commit", "3pc: commit", "2pc: TransactionAborted", "3pc: TransactionAborted", "gave up", "unsettled",
        "database down", "request lost", "answer lost", "request repeated", "forgotten", "cancelled", "died inside",
        "ended by another", "aborted for another",
    )  # fmt: skip

    def __init__(self, world):
        self.world = world
        self.databases = {name: Database(name, world, world.chance, self.ended) for name in NAMES}
        self.inside = {}
        self.ends = {}  # transaction -> {participant: "commit" or "abort"}
        self.told = {}  # transaction -> what its block was told
        self.owners = {}

    def open(self, process, client):
        """What steps of one session share: a coordinator, which is entered by the client's own task."""
        ready = anyio.Event()
        participants = {name: Participant(database, process) for name, database in self.databases.items()}
        coordinator = Coordinator(client, "/transactions", participants=participants)

        async def enter():
            try:
                await coordinator.__aenter__()
                ready.set()
            except RecipesError:
                pass  # the session is over

        client.look_after(enter)
        return client, coordinator, ready

    async def act(self, process, opened, step):
        """Carry out a step."""
        client, coordinator, ready = opened
        if step.kind == "database":
            database = self.databases[NAMES[step.key]]
            if step.number % 2:
                database.crash(step.for_us * 4 + 1_000)
            elif not database.lossy:
                database.lossy = True
                self.world.timeline.after(step.for_us * 8 + 200_000, self.mend, database)
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
        try:
            async with tx:
                for name in NAMES[: 2 + step.number % 2]:
                    await tx.enlist(name)
                await anyio.sleep(min(step.for_us, 1_500_000) / 1e6)
                if step.kind == "give up":
                    raise Mine
        except Mine:
            self.world.count("gave up")
            self.tell(tx, "abort")
        except TransactionAborted:
            self.tell(tx, "abort")
            raise
        else:
            self.world.count(f"{protocol}: commit")
            if tx.unsettled:
                self.world.count("unsettled")
            self.tell(tx, "commit")

    def tell(self, tx, outcome):
        self.told[tx.id] = outcome
        if tx.outcome != outcome:
            self.world.fail("R11", f"{tx} ends with {outcome}, and says {tx.outcome}")
        self.judge(tx.id)

    def ended(self, branch, state):
        """A branch has come to an end at its database."""
        if state in _ENDS:
            self.ends.setdefault(branch.transaction, {})[branch.participant] = _ENDS[state]
            self.judge(branch.transaction)
            process, life = self.owners[branch.transaction]
            if (process.life, process.up) != (life, True):
                self.world.count("ended by another" if state is BranchState.COMMITTED else "aborted for another")

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

    def holder(self, process=None):
        """A process with a transaction under way, this one if it has; None when there is none."""
        return next((each for each, _ in self.inside if process in (None, each)), None)

    def life_ended(self, process):
        """It has died, or its program is done."""
        for key in [key for key in self.inside if key[0] is process]:
            del self.inside[key]
            self.world.count("died inside")

    def event(self, process, kind, path):
        """A watch event has come in."""

    def quiet(self):
        """The faults are over: everything is decided, proved and removed within the bound."""
        for database in self.databases.values():
            database.up, database.lossy = True, False
        self.world.wait("R12", self.unsettled, SETTLED_US)

    def unsettled(self):
        for database in self.databases.values():
            for branch in database.prepared():
                return f"{branch} is still prepared"
        records = self.world.reference.tree.nodes.get(b"/transactions/default/records")
        if records is not None and records.children:
            return f"{len(records.children)} records are left: {sorted(records.children)[:3]}"
        return None

    def finish(self):
        for transaction, outcome in self.told.items():
            ends = self.ends.get(transaction, {})
            if outcome == "commit" and "abort" in ends.values():
                self.world.fail("R11", f"{transaction} was committed: {ends}")
