"""Operators' decisions: the outcome of a transaction in doubt or of an orphan, and that a participant is gone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recipes.core.errors import BadArguments, UnknownTransaction
from recipes.transaction import asking
from recipes.transaction.participant import BranchId, TransactionParticipant
from recipes.transaction.record import Decision, Record, Records
from recipes.transaction.survey import find_transaction, list_prepared

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.transaction.home import Home


async def resolve(
    client: "Client",
    path: str,
    transaction: str,
    decision: Decision,
    *,
    name: str | None = None,
    participants: "Mapping[str, TransactionParticipant] | None" = None,
) -> Record:
    """Decide an undecided transaction; return its record. The coordinator that serves the path tells the participants.

    A decision never changes. An abort competes with the coordinator's own decision. A commit needs `participants`: each
    participant of the transaction must prove that it is prepared. Raises BadArguments, which says what prevents the
    decision, and UnknownTransaction.
    """
    home, seen = await find_transaction(client, path, transaction, name)
    record = seen.record
    if record.decision is None:
        if decision is Decision.COMMIT:
            await _check_prepared(home, record, participants)
        records = Records(client, home.records)
        record = await records.decide(record, decision, home.path, "an operator decided")
        if record.decision is None:
            raise BadArguments(records.path(transaction), "a participant has joined it meanwhile: look at it again")
    if record.decision is not decision:
        stands = "" if record.decision is None else record.decision.value
        raise BadArguments(path, f"{transaction}: {stands} is decided, and a decision never changes")
    return record


async def release_participant(
    client: "Client", path: str, transaction: str, participant: str, *, name: str | None = None
) -> Record:
    """Stop waiting for a participant's proof in a decided transaction; return the record.

    For a participant that is gone for good, or was put right by hand. Raises BadArguments if nothing is decided yet or
    the participant does not take part, and UnknownTransaction.
    """
    home, seen = await find_transaction(client, path, transaction, name)
    if seen.record.decision is None:
        raise BadArguments(path, f"{transaction} is not decided: decide it first")
    if participant not in seen.record.branches:
        waits = ", ".join(seen.record.branches) or "nobody"
        raise BadArguments(path, f"{transaction} does not wait for {participant!r}: it waits for {waits}")

    def without(record: Record) -> Record | None:
        if participant not in record.branches:
            return None
        return record._replace(branches=tuple(each for each in record.branches if each != participant))

    return await Records(client, home.records).change(transaction, without)


async def end_orphans(
    home: "Home", transaction: str, decision: Decision, participants: Mapping[str, TransactionParticipant]
) -> dict[str, str]:
    """End the prepared branches of a transaction without a record, as an operator decides.

    Check with `find_orphans` before: a branch that has a record is its coordinator's. Returns for each participant ""
    if it has proved the outcome, else what it says. Raises UnknownTransaction if the transaction is prepared nowhere.
    """
    prepared = {
        each
        for each, participant in participants.items()
        for found in await list_prepared(participant)
        if found.ours is not None and (found.ours.fleet, found.ours.transaction) == (home.id, transaction)
    }
    if not prepared:
        raise UnknownTransaction(transaction, f"it is prepared at none of {', '.join(sorted(participants))}")
    return {
        each: await asking.tell(participants, BranchId(home.id, transaction, each), decision)
        for each in sorted(prepared)
    }


async def _check_prepared(
    home: "Home", record: Record, participants: "Mapping[str, TransactionParticipant] | None"
) -> None:
    for each in record.branches:
        participant = (participants or {}).get(each)
        if participant is None:
            raise BadArguments(
                home.path, f"{record.id}: commit needs proof that {each!r} is prepared: name participants"
            )
        if BranchId(home.id, record.id, each) not in await participant.recover():
            raise BadArguments(home.path, f"{record.id} cannot commit: {each!r} is not prepared")
