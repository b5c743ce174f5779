"""A process that moves money: `python worker.py SETTINGS LOG`.

SETTINGS is a JSON object: hosts, path, databases (name -> what `bank.participant_of` takes), seed, at_a_time. Each
transfer is two lines of LOG, when it begins and when its outcome is known: what is missing, a kill took.
"""

import json
import random
import sys
import uuid

import anyio
import psycopg

from recipes import Coordinator, ParticipantError, TransactionAborted, TransactionInDoubt, connect
from recipes.core.errors import RecipesError
from recipes.transaction.branch import Answer
from tests.transaction.bank import ACCOUNTS, DRIVER_ERRORS, is_overdrawn, participant_of

DEADLINE = 8.0
SESSION_SECONDS = 2.0


class ChangeOfMind(Exception):
    """What a block raises of its own."""


class Teller:
    def __init__(self, settings, lines):
        self.settings, self.lines = settings, lines
        self.chance = random.Random(settings["seed"])
        self.kinds = {name: each["kind"] for name, each in settings["databases"].items()}

    async def transfer(self, coordinator):
        """Between random accounts of two or three databases; each gets a row with the transfer's id."""
        chance, identity = self.chance, str(uuid.uuid4())
        names = chance.sample(sorted(self.kinds), k=chance.randint(2, len(self.kinds)))
        amount = chance.randint(1, 60) * (len(names) - 1)
        protocol = "3pc" if chance.random() < 0.3 else "2pc"
        changes_mind, is_deaf = chance.random() < 0.1, chance.random() < 0.5
        self.lines.write(f"begin {identity} {','.join(names)}\n")
        tx = coordinator.begin(protocol=protocol, deadline=DEADLINE)
        try:
            async with tx:
                for number, name in enumerate(names):
                    branch = await tx.enlist(name)
                    change = amount // (len(names) - 1) if number else -amount
                    await branch.execute("INSERT INTO transfers VALUES (%s, %s)", [identity, ",".join(sorted(names))])
                    try:
                        await branch.execute(
                            "UPDATE accounts SET balance = balance + %s WHERE name = %s",
                            [change, f"a{chance.randrange(ACCOUNTS)}"],
                        )
                    except psycopg.errors.CheckViolation:
                        if not is_deaf:
                            raise
                        # Who does not listen is refused by PostgreSQL's prepare; MariaDB would commit the rest.
                if changes_mind:
                    raise ChangeOfMind
        except ChangeOfMind:
            said, why = "aborted", "mind"
        except TransactionAborted as error:
            said, why = "aborted", "vote" if Answer.REFUSED.value in str(error) else "failure"
        except TransactionInDoubt:
            said, why = "doubt", "-"
        except (*DRIVER_ERRORS, ParticipantError) as error:
            said, why = "aborted", "check" if is_overdrawn(error) else "failure"
        else:
            said, why = "committed", "-"
        assert tx.outcome == {"committed": "commit", "aborted": "abort", "doubt": None}[said]
        self.lines.write(f"{said} {identity} {protocol} {why} {tx.id}\n")
        if why == "failure":
            await anyio.sleep(0.1)  # a database that is down refuses thousands a second

    async def work(self, coordinator):
        while True:
            await self.transfer(coordinator)

    async def run(self):
        participants = {name: participant_of(each) for name, each in self.settings["databases"].items()}
        while True:  # a session that is lost is followed by another one
            try:
                async with (
                    connect(self.settings["hosts"], session_timeout=SESSION_SECONDS) as client,
                    Coordinator(client, self.settings["path"], participants=participants) as coordinator,
                    anyio.create_task_group() as tasks,
                ):
                    for _ in range(self.settings["at_a_time"]):
                        tasks.start_soon(self.work, coordinator)
            except* (*DRIVER_ERRORS, RecipesError, OSError) as errors:
                self.lines.write(f"again - {[repr(error) for error in errors.exceptions]}\n")
                await anyio.sleep(0.2)


if __name__ == "__main__":
    with open(sys.argv[2], "a", buffering=1) as lines:
        anyio.run(Teller(json.loads(sys.argv[1]), lines).run)
