"""The transactions at a path, with their states; and prepared branches without a record."""

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import anyio

from recipes.core.errors import BadArguments, MalformedValue, NoNode, RecipesError, UnknownTransaction
from recipes.transaction.home import Home, living_coordinators, read_home
from recipes.transaction.participant import Prepared, TransactionParticipant
from recipes.transaction.record import Decision, Record, Records

if TYPE_CHECKING:
    from recipes.core.client.client import Client

_READS_AT_ONCE = 64


class TransactionState(Enum):
    """Where a recorded transaction stands."""

    UNDER_WAY = "its coordinator lives and asks the participants"
    IN_DOUBT = "its coordinator is gone; another one, or `recipes tx serve`, aborts it"
    COMMITTING = "commit is decided; not every participant has proved it"
    ABORTING = "abort is decided; not every participant has proved it"


class TransactionSeen(NamedTuple):
    """A recorded transaction, as it was when it was read. fleet: the name of its coordinators' fleet."""

    fleet: str
    record: Record
    state: TransactionState


class FleetSeen(NamedTuple):
    """The coordinators of one path and name.

    coordinators: how many are alive. bad: records that cannot be read, with the reason.
    """

    home: Home
    coordinators: int
    transactions: tuple[TransactionSeen, ...]
    bad: tuple[MalformedValue, ...]


class Orphan(NamedTuple):
    """A prepared branch, or another prepared transaction, that nobody here will end. why: the reason, in a sentence."""

    participant: str
    prepared: Prepared
    why: str


async def read_fleets(client: "Client", path: str, name: str | None = None) -> list[FleetSeen]:
    """The fleets at `path`, or the one called `name`, with their transactions, oldest first.

    Raises NoNode for a missing path, and BadArguments for an unknown name.
    """
    await client.sync(path)
    names = sorted(await client.children(path))
    if name is not None and name not in names:
        raise BadArguments(path, f"name={name!r}: expected a fleet at this path: {', '.join(names) or 'it has none'}")
    homes = [await read_home(client, path, each) for each in ([name] if name is not None else names)]
    return [await _read_fleet(client, home) for home in homes if home is not None]


async def find_transaction(
    client: "Client", path: str, transaction: str, name: str | None = None
) -> tuple[Home, TransactionSeen]:
    """The transaction of this id, with its fleet. Raises UnknownTransaction, and what `read_fleets` raises."""
    for fleet in await read_fleets(client, path, name):
        for seen in fleet.transactions:
            if seen.record.id == transaction:
                return fleet.home, seen
    raise UnknownTransaction(transaction, f"no coordinators at {path} have a record of it")


async def find_orphans(
    client: "Client", path: str, participants: Mapping[str, TransactionParticipant], name: str | None = None
) -> list[Orphan]:
    """The transactions that are prepared at the participants and have no record at `path`.

    name: of the fleet that the participants belong to, "default" without it. A branch is recorded before it is
    prepared, and its record stays until the branch has ended. So a branch that is prepared, has no record, and is still
    prepared at a second look will never have a record. The global id tells branches of other fleets, and transactions
    of other software, apart. Nothing is changed.
    """
    home = await read_home(client, path, "default" if name is None else name)
    if home is None:
        raise BadArguments(path, f"name={name or 'default'!r}: expected a fleet at this path")
    before = {each: await list_prepared(participant) for each, participant in participants.items()}
    fleets = await read_fleets(client, path)
    known = {fleet.home.id: {seen.record.id for seen in fleet.transactions} for fleet in fleets}
    bad = {fleet.home.id: {error.path.rpartition("/")[2] for error in fleet.bad} for fleet in fleets}
    called = {fleet.home.id: fleet.home.name for fleet in fleets}
    orphans = []
    for each, found in before.items():
        suspects = []
        for prepared in found:
            ours = prepared.ours
            if ours is None:
                suspects.append((prepared, "not prepared by recipes: its own transaction manager ends it"))
            elif ours.fleet not in known:
                suspects.append((prepared, f"of the fleet {ours.fleet}, which has no record at {path}"))
            elif ours.transaction in bad[ours.fleet]:
                suspects.append((prepared, "its record cannot be read"))
            elif ours.transaction not in known[ours.fleet]:
                of = "" if ours.fleet == home.id else f", of the fleet {called[ours.fleet]}"
                suspects.append((prepared, f"there is no record of its transaction{of}"))
        if suspects:
            still = {prepared.id for prepared in await list_prepared(participants[each])}
            orphans += [Orphan(each, prepared, why) for prepared, why in suspects if prepared.id in still]
    return orphans


async def list_prepared(participant: TransactionParticipant) -> list[Prepared]:
    """The prepared transactions of a participant: from `prepared` if it has that method, else from `recover`."""
    if (prepared := getattr(participant, "prepared", None)) is not None:
        return list(await prepared())
    return [Prepared(str(branch), branch, None, ()) for branch in await participant.recover()]


async def _read_fleet(client: "Client", home: Home) -> FleetSeen:
    records = Records(client, home.records)
    seen: list[TransactionSeen] = []
    bad: list[MalformedValue] = []
    failed: list[RecipesError] = []
    limiter = anyio.CapacityLimiter(_READS_AT_ONCE)
    try:
        names = await client.children(home.records)
    except NoNode:
        names = []
    # After the records: a coordinator registers before it writes.
    living = await living_coordinators(client, home.path)

    async def read(transaction: str) -> None:
        async with limiter:
            try:
                record = await records.read(transaction)
            except MalformedValue as error:
                bad.append(error)
            except RecipesError as error:  # the task group would wrap it in an ExceptionGroup
                failed.append(error)
                group.cancel_scope.cancel()
            else:
                if record is not None:
                    alive = record.owner.rpartition("/")[2] in living
                    seen.append(TransactionSeen(home.name, record, _state(record, alive)))

    async with anyio.create_task_group() as group:
        for transaction in names:
            group.start_soon(read, transaction)
    if failed:
        raise failed[0]
    seen.sort(key=lambda each: (each.record.begun, each.record.id))
    return FleetSeen(home, len(living), tuple(seen), tuple(sorted(bad, key=lambda error: error.path)))


def _state(record: Record, alive: bool) -> TransactionState:
    if record.decision is not None:
        return TransactionState.COMMITTING if record.decision is Decision.COMMIT else TransactionState.ABORTING
    return TransactionState.UNDER_WAY if alive else TransactionState.IN_DOUBT
