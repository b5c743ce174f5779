"""Tellers move money between two ledgers and are killed meanwhile: no transfer is ever in one ledger alone.

`python transfer.py` keeps the ledgers in memory; a teller is a task, and to kill it is to cancel it during its
transfers. `python transfer.py DSN DSN` moves money between two PostgreSQL databases, in a table `recipes_example` that
it creates in each; there a teller is a process, killed with -9. You may restart the databases meanwhile. They need
`max_prepared_transactions` above 0, and this program needs the extra `postgres`.
"""

import random
import sys
from contextlib import suppress
from typing import Any

import anyio
import anyio.abc

from recipes import Coordinator, MemoryParticipant, connect
from recipes.transaction.participant import BranchId

PATH = "/examples/transfers"
TELLERS, KILLS, EACH = 3, 4, 20  # transfers before the next kill


class Refused(Exception):
    """Too much money for one transfer."""


async def write(branch: Any, transfer: str, amount: int) -> None:
    if isinstance(branch, dict):
        branch[transfer] = amount
    else:
        await branch.execute("INSERT INTO recipes_example VALUES (%s, %s)", [transfer, amount])


async def transfer(coordinator: Coordinator) -> None:
    """All or nothing: an exception in the block, or a ledger that refuses, undoes both entries."""
    amount = random.randint(1, 110)
    async with coordinator.begin(deadline=5) as tx:
        await write(await tx.enlist("ours"), tx.id, -amount)
        await write(await tx.enlist("theirs"), tx.id, amount)
        if amount > 100:
            raise Refused


async def tell(parties: dict[str, Any]) -> None:
    """Transfers, one after the other, until somebody kills us."""
    while True:
        try:
            async with (
                connect(session_timeout=2) as client,
                Coordinator(client, PATH, participants=parties) as coordinator,
            ):
                while True:
                    try:
                        await transfer(coordinator)
                    except Refused:
                        continue
        except Exception as error:  # aborted, in doubt, a database is away, a session is lost: go on
            print(f"a teller begins anew: {error!r}"[:100], file=sys.stderr)
            await anyio.sleep(0.2)


async def let_them_die(parties: dict[str, Any], dsns: list[str]) -> None:
    """Start tellers; kill one after the other, and start a new one for each; in the end kill them all."""
    async with anyio.create_task_group() as tasks:
        running: list[Any] = []

        async def start() -> None:
            if dsns:
                running.append(await anyio.open_process([sys.executable, __file__, "tell", *dsns], stderr=sys.stderr))
            else:
                running.append(anyio.CancelScope())
                tasks.start_soon(in_scope, running[-1])

        async def in_scope(scope: anyio.CancelScope) -> None:
            with scope:
                await tell(parties)

        async def kill() -> None:
            victim = running.pop(0)
            if dsns:
                victim.kill()
                await victim.wait()
            else:
                victim.cancel()

        for _ in range(TELLERS):
            await start()
        goal = len(await entries(parties["ours"]))
        for _ in range(KILLS):
            goal += EACH
            await reach(parties["ours"], goal)
            await kill()
            await start()
        while running:
            await kill()


async def reach(party: Any, transfers: int) -> None:
    """Return once there are so many transfers."""
    found = 0
    while found < transfers:
        await anyio.sleep(0.1)
        with suppress(Exception):  # the database is away
            found = len(await entries(party))


async def entries(party: Any) -> dict[str, int]:
    if isinstance(party, MemoryParticipant):
        return {str(key): int(str(amount)) for key, amount in party.values.items()}
    reading = await party.begin(BranchId("example", "reading", "one"))
    found = dict(await reading.execute("SELECT transfer, amount FROM recipes_example"))
    await party.prepare(BranchId("example", "reading", "one"))  # it changed nothing, so this only ends it
    return found


def parties_at(dsns: list[str]) -> dict[str, Any]:
    if not dsns:
        return {"ours": MemoryParticipant(), "theirs": MemoryParticipant()}
    from recipes import PostgresParticipant

    return {"ours": PostgresParticipant(dsns[0]), "theirs": PostgresParticipant(dsns[1])}


async def main(dsns: list[str]) -> None:
    parties = parties_at(dsns)
    for dsn in dsns:
        import psycopg

        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS recipes_example (transfer text PRIMARY KEY, amount int)")
    async with connect() as client:
        await let_them_die(parties, dsns)
        left = [len(await party.recover()) for party in parties.values()]
        print(f"all tellers are dead; branches that they left prepared: {left}")
        async with Coordinator(client, PATH, participants=parties):  # it ends the transactions of dead coordinators
            while any([await party.recover() for party in parties.values()]):
                await anyio.sleep(0.05)
        ours, theirs = [await entries(party) for party in parties.values()]
    assert ours.keys() == theirs.keys() and sum(ours.values()) + sum(theirs.values()) == 0
    print(f"{len(ours)} transfers are in both ledgers, none in one alone; the sum of all is 0")


if __name__ == "__main__":
    if sys.argv[1:2] == ["tell"]:
        anyio.run(tell, parties_at(sys.argv[2:]))
    else:
        anyio.run(main, sys.argv[1:])
