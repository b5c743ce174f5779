"""`recipes tx`: transactions across databases and services, as an operator sees them."""

import time
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import anyio
from cyclopts import App, Parameter

from recipes import BadArguments, Client, MalformedValue, NoNode, UnknownTransaction
from recipes.cli.access import Access, Switch
from recipes.cli.participants import find_participants
from recipes.cli.terminal import complain, escaped, say
from recipes.transaction.home import read_home
from recipes.transaction.participant import Prepared, TransactionParticipant
from recipes.transaction.record import Decision, Record
from recipes.transaction.resolving import end_orphans, release_participant
from recipes.transaction.resolving import resolve as resolve_record
from recipes.transaction.survey import FleetSeen, Orphan, find_orphans, find_transaction, list_prepared, read_fleets

UNSETTLED = 75  # EX_TEMPFAIL of sysexits.h: not everybody has proved it yet
_ANYWHERE = Access()

tx: App = App(name="tx", help="Transactions across databases and services: see docs/transactions.md.")
Where = Annotated[Access, Parameter(name="*")]


@tx.command(name="list")
def list_transactions(path: str, /, *, name: str | None = None, json: Switch = False, access: Where = _ANYWHERE) -> int:
    """Print the transactions at PATH that are not settled, by fleet, oldest first: recipes tx list PATH.

    Each transaction is shown with its state, its protocol, its age by this machine's clock, and the participants it
    waits for. A settled transaction has no record any more.

    Exit codes: 0, also when there is nothing; 1 when PATH is missing or a record cannot be read; 2 for a wrong name.

    Args:
        path: the coordinators' path.
        name: the name of one fleet; else all are shown.
        json: print an array of objects, one for each fleet.
    """

    async def act(client: Client) -> int:
        found = await read_fleets(client, path, name)
        for error in (error for fleet in found for error in fleet.bad):
            complain("recipes tx", error, kind=type(error).__name__, path=error.path)
        now = time.time()
        text = "\n".join(_fleet_in_words(fleet, now) for fleet in found) or "no coordinator has ever used this path"
        say(json, text, [_fleet_facts(fleet, now) for fleet in found])
        return 1 if any(fleet.bad for fleet in found) else 0

    return _on(access, act)


@tx.command
def show(
    path: str,
    transaction: str,
    /,
    *,
    name: str | None = None,
    participants: str | None = None,
    json: Switch = False,
    access: Where = _ANYWHERE,
) -> int:
    """Print one transaction as it is recorded, and whether its participants are prepared: recipes tx show PATH ID.

    Exit codes: 0; 1 when there is no such transaction.

    Args:
        path: the coordinators' path.
        transaction: its id.
        name: the fleet's name; without it all fleets are searched.
        participants: MODULE:NAME or FILE.toml: each is asked whether its branch is prepared.
        json: print one object.
    """
    known = {} if participants is None else find_participants(participants)

    async def act(client: Client) -> int:
        home, seen = await find_transaction(client, path, transaction, name)
        record = seen.record
        facts = _facts(record, seen.state.name, time.time()) | {"fleet": home.name, "owner": record.owner}
        lines = [f"{key}: {_in_words(value)}" for key, value in facts.items()]
        lines.insert(list(facts).index("state") + 1, f"  {seen.state.value}")
        prepared: dict[str, str] = {}
        for each in record.branches:
            if each in known:
                prepared[each] = await _prepared_words(known[each], home.id, transaction)
                lines.append(f"{each}: {prepared[each]}")
        say(json, "\n".join(map(escaped, lines)), facts | {"prepared": prepared})
        return 0

    return _on(access, act)


@tx.command
def resolve(
    path: str,
    transaction: str,
    outcome: Literal["commit", "abort"] | None = None,
    /,
    *,
    gone: str | None = None,
    orphan: Switch = False,
    name: str | None = None,
    participants: str | None = None,
    json: Switch = False,
    access: Where = _ANYWHERE,
) -> int:
    """Decide a transaction that nobody has decided: recipes tx resolve PATH ID abort|commit.

    The decision is written, as a coordinator writes it; a coordinator that lives, or `recipes tx serve`, tells the
    participants. Commit needs --participants: each must prove that it is prepared. A decision that stands is never
    changed.

    With --gone NAME a decided transaction no longer waits for the proof of a participant that is lost for good or was
    corrected by hand. With --orphan the participants end the prepared branches of a transaction that has no record:
    look at `recipes tx orphans` first.

    Exit codes: 0; 1 when there is no such transaction; 2 when it cannot be decided in this way, and the message says
    why; 75 when a participant has not proved the end of an orphan.

    Args:
        path: the coordinators' path.
        transaction: its id.
        outcome: commit or abort.
        gone: a participant's name.
        orphan: the transaction has no record.
        name: the fleet's name; without it all fleets are searched, with --orphan only "default".
        participants: MODULE:NAME of a mapping, or FILE.toml.
        json: print one object.
    """
    if (outcome is None) == (gone is None):
        complain("recipes tx", "expected either commit, abort or --gone NAME")
        return 2
    if orphan and (participants is None or outcome is None):
        complain("recipes tx", "--orphan: expected commit or abort, and --participants")
        return 2
    known = {} if participants is None else find_participants(participants)

    async def act(client: Client) -> int:
        if outcome is None:
            record = await release_participant(client, path, transaction, gone or "", name=name)
        elif orphan:
            return await _end_orphan(client, path, name or "default", transaction, Decision(outcome), known, json)
        else:
            record = await resolve_record(client, path, transaction, Decision(outcome), name=name, participants=known)
        decided = "" if record.decision is None else record.decision.value
        waits = ", ".join(record.branches) or "nobody"
        facts = {"id": record.id, "decision": decided, "waits_for": list(record.branches)}
        say(json, escaped(f"{record.id}: {decided} is decided; it waits for {waits}"), facts)
        return 0

    return _on(access, act)


@tx.command
def orphans(
    path: str,
    /,
    *,
    participants: str,
    name: str | None = None,
    json: Switch = False,
    access: Where = _ANYWHERE,
) -> int:
    """Print prepared transactions that have no record: recipes tx orphans PATH --participants FILE.toml.

    Each is shown with its participant and its id, with its age and the locks it holds if the database tells them, and
    with the reason why nobody will end it. Nothing is changed.

    Exit codes: 0 when there is none; 1 when there is one, or a participant does not answer.

    Args:
        path: the coordinators' path.
        participants: MODULE:NAME of a mapping, or FILE.toml.
        name: the fleet's name, "default" if none is given.
        json: print an array of objects.
    """
    known = find_participants(participants)

    async def act(client: Client) -> int:
        found: list[Orphan] = []
        silent = 0
        for each, participant in known.items():
            try:
                found += await find_orphans(client, path, {each: participant}, name)
            except (BadArguments, NoNode):
                raise
            except Exception as error:  # a driver's own
                silent += 1
                complain("recipes tx", f"{each}: {type(error).__name__}: {error}", kind=type(error).__name__)
        text = "\n".join(_orphan_in_words(each) for each in found) or ("" if silent else "no orphans")
        say(json, text, [_orphan_facts(each) for each in found])
        return 1 if found or silent else 0

    return _on(access, act)


@tx.command
def serve(
    path: str,
    /,
    *,
    participants: str,
    name: str | None = None,
    session_timeout: float = 15.0,
    metrics: str | None = None,
    access: Where = _ANYWHERE,
) -> int:
    """End the transactions of dead coordinators: recipes tx serve PATH --participants FILE.toml.

    Any number of these commands may run; one works at a time, and the next one takes over. It runs until SIGTERM or
    SIGINT, also when sessions are lost or databases are away.

    Exit codes: 0 after a signal; 1 when no server answers, or a participant's settings are wrong; 2 for a wrong
    argument.

    Args:
        path: the coordinators' path.
        participants: MODULE:NAME of a mapping, or FILE.toml: the same names as the fleet's.
        name: the fleet's name, "default" if none is given.
        session_timeout: seconds after which another one takes over when this one was cut off.
        metrics: HOST:PORT, where Prometheus finds figures over HTTP.
    """
    from recipes.cli.tx_serve import serve_transactions

    return serve_transactions(path, name, find_participants(participants), session_timeout, metrics, access)


def _on(access: Access, act: Callable[[Client], Coroutine[Any, Any, int]]) -> int:
    try:
        return access.run(act)
    except BadArguments as error:
        complain("recipes tx", error, kind=type(error).__name__)
        return 2
    except (NoNode, UnknownTransaction, MalformedValue) as error:
        complain("recipes tx", error, kind=type(error).__name__)
        return 1


async def _end_orphan(
    client: Client,
    path: str,
    name: str,
    transaction: str,
    decision: Decision,
    participants: Mapping[str, TransactionParticipant],
    json: bool,
) -> int:
    home = await read_home(client, path, name)
    if home is None:
        raise BadArguments(path, f"name={name!r}: expected a fleet at this path")
    if any(seen.record.id == transaction for fleet in await read_fleets(client, path) for seen in fleet.transactions):
        raise BadArguments(path, f"{transaction} is no orphan: it has a record")
    said = await end_orphans(home, transaction, decision, participants)
    lines = [f"{each}: {what_it_says or decision.value}" for each, what_it_says in said.items()]
    say(json, "\n".join(map(escaped, lines)), {"id": transaction, "decision": decision.value, "unproved": said})
    return UNSETTLED if any(said.values()) else 0


async def _prepared_words(participant: TransactionParticipant, fleet: str, transaction: str) -> str:
    with anyio.move_on_after(10):
        try:
            found = await list_prepared(participant)
        except Exception as error:  # a driver's own
            return f"{type(error).__name__}: {error}"
        for prepared in found:
            if prepared.ours is not None and prepared.ours[:2] == (fleet, transaction):
                return f"prepared{_age(prepared)}{_locks(prepared)}"
        return "not prepared"
    return "no answer within 10 s"


def _facts(record: Record, state: str, now: float) -> dict[str, Any]:
    return {
        "id": record.id,
        "protocol": record.protocol.value,
        "begun": datetime.fromtimestamp(record.begun, UTC).isoformat(timespec="milliseconds"),
        "age": round(max(0.0, now - record.begun), 3),
        "state": state.lower().replace("_", " "),
        "deadline": record.deadline,
        "decision": None if record.decision is None else record.decision.value,
        "why": record.why,
        "waits_for": list(record.branches),
    }


def _in_words(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else "-" if value in (None, "") else str(value)


def _fleet_in_words(fleet: FleetSeen, now: float) -> str:
    home = fleet.home
    head = f"{home.path}: {fleet.coordinators} coordinators, participants {', '.join(home.participants)}"
    lines = [head]
    for seen in fleet.transactions:
        facts = _facts(seen.record, seen.state.name, now)
        age = f"for {facts['age']:.1f} s"
        lines.append(
            f"  {facts['id']}  {facts['state']:10}  {facts['protocol']}  {age:12}  {_in_words(facts['waits_for'])}"
        )
    return "\n".join(map(escaped, lines))


def _fleet_facts(fleet: FleetSeen, now: float) -> dict[str, Any]:
    home = fleet.home
    return {
        "path": home.path,
        "name": home.name,
        "id": home.id,
        "participants": list(home.participants),
        "coordinators": fleet.coordinators,
        "transactions": [_facts(seen.record, seen.state.name, now) for seen in fleet.transactions],
    }


def _orphan_in_words(orphan: Orphan) -> str:
    prepared = orphan.prepared
    return escaped(f"{orphan.participant}  {prepared.id}{_age(prepared)}{_locks(prepared)}: {orphan.why}")


def _orphan_facts(orphan: Orphan) -> dict[str, Any]:
    prepared = orphan.prepared
    return {
        "participant": orphan.participant,
        "id": prepared.id,
        "transaction": None if prepared.ours is None else prepared.ours.transaction,
        "fleet": None if prepared.ours is None else prepared.ours.fleet,
        "age": prepared.age,
        "locks": list(prepared.locks),
        "why": orphan.why,
    }


def _age(prepared: Prepared) -> str:
    return "" if prepared.age is None else f", for {prepared.age:.1f} s"


def _locks(prepared: Prepared) -> str:
    return f", holds {'; '.join(prepared.locks)}" if prepared.locks else ""
