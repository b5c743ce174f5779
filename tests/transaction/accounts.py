"""Two accounts in PostgreSQL, and the participant that moves money between them."""

from contextlib import asynccontextmanager

import psycopg

from recipes.transaction.postgres import PostgresParticipant


@asynccontextmanager
async def with_accounts(postgres):
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS accounts")
        connection.execute("CREATE TABLE accounts (name text PRIMARY KEY, balance int CHECK (balance >= 0))")
        connection.execute("INSERT INTO accounts VALUES ('a', 100), ('b', 100)")
    participant = PostgresParticipant(postgres.dsn)
    await participant.open()
    yield participant
    await participant.aclose()


def look(postgres, sql="SELECT balance FROM accounts WHERE name = 'a'"):
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        return connection.execute(sql).fetchone()[0]


async def take_ten(participant, branch):
    sql = await participant.begin(branch)
    await sql.execute("UPDATE accounts SET balance = balance - 10 WHERE name = 'a'")
