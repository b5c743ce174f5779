"""`recipes tx orphans` on a real PostgreSQL, named in a file, with its credentials in the environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from recipes import Coordinator, PostgresParticipant, connect

psycopg = pytest.importorskip("psycopg", reason="needs psycopg")

ROOT = Path(__file__).parents[2]


async def set_up(hosts, path, dsn):
    participant = PostgresParticipant(dsn)
    async with connect(hosts) as client, Coordinator(client, path, participants={"ledger": participant}) as coordinator:
        fleet = coordinator.fleet
    await participant.aclose()
    return fleet


@pytest.mark.thorough  # a database
def test_it_shows_what_is_prepared_in_no_record_with_age_and_locks(postgres, our_server, root, tmp_path):
    fleet = anyio.run(set_up, our_server.hosts, root, postgres.dsn)
    (tmp_path / "participants.toml").write_text('[ledger]\nkind = "postgres"\ndsn = {env = "LEDGER_DSN"}\n')
    ours, foreign = f"recipes:{fleet}:1-00ff:ledger", "somebody's own"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE orphans (name text)")
        for name in (ours, foreign):
            connection.execute("BEGIN")
            connection.execute("INSERT INTO orphans VALUES (%s)", [name])
            connection.execute(psycopg.sql.SQL("PREPARE TRANSACTION {}").format(psycopg.sql.Literal(name)))
        command = ["tx", "orphans", root, "--participants", "participants.toml", "--json", "--hosts", our_server.hosts]
        done = subprocess.run(
            [sys.executable, "-m", "recipes", *command],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "LEDGER_DSN": postgres.dsn},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        found = {each["id"]: each for each in json.loads(done.stdout)}
        assert found.keys() == {ours, foreign}
        assert (found[ours]["transaction"], found[ours]["fleet"]) == ("1-00ff", fleet)
        assert found[ours]["why"] == "there is no record of its transaction"
        assert found[foreign]["why"] == "not prepared by recipes: its own transaction manager ends it"
        for each in found.values():
            assert "RowExclusiveLock on orphans" in each["locks"]
            assert each["age"] >= 0
        for name in (ours, foreign):
            connection.execute(psycopg.sql.SQL("ROLLBACK PREPARED {}").format(psycopg.sql.Literal(name)))
        connection.execute("DROP TABLE orphans")
