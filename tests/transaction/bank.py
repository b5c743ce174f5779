"""Accounts in several databases: how they are reached, filled and judged, by the names of their kinds."""

import warnings
from collections import Counter
from contextlib import closing

import psycopg

from recipes.transaction.postgres import PostgresParticipant
from recipes.transaction.tpc import TpcParticipant

try:
    with warnings.catch_warnings(action="ignore"):  # connector 1.1.14 has escapes in texts that are none
        import mariadb
except ImportError:  # test_bank.py is skipped then
    mariadb = None

ACCOUNTS = 40
BALANCE = 100
DRIVER_ERRORS = (psycopg.Error, mariadb.Error) if mariadb else (psycopg.Error,)
_MARIADB_CHECK = 4025


def address_of(server):
    """How a database is reached, as it travels to worker processes: {"kind": ..., ...}."""
    if server.name == "MariaDB":
        return {"kind": server.name, "settings": server.settings_to_connect}
    return {"kind": server.name, "dsn": server.dsn}


def participant_of(database):
    if database["kind"] == "MariaDB":
        return TpcParticipant(lambda: mariadb.connect(**database["settings"]))
    return PostgresParticipant(database["dsn"])


def connection_of(database):
    """A PEP 249 connection that commits each statement."""
    if database["kind"] == "MariaDB":
        return mariadb.connect(autocommit=True, **database["settings"])
    return psycopg.connect(database["dsn"], autocommit=True)


def is_overdrawn(error):
    """Whether a database's CHECK refused the change."""
    return isinstance(error, psycopg.errors.CheckViolation) or getattr(error, "errno", None) == _MARIADB_CHECK


def query(database, sql):
    with closing(connection_of(database)) as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def fill(database):
    """Make the accounts. A row of `transfers` tells which databases a transfer is in."""
    query(database, "CREATE TABLE accounts (name varchar(20) PRIMARY KEY, balance int NOT NULL CHECK (balance >= 0))")
    query(database, "CREATE TABLE transfers (id varchar(40) PRIMARY KEY, parts varchar(60) NOT NULL)")
    rows = ", ".join(f"('a{number}', {BALANCE})" for number in range(ACCOUNTS))
    query(database, f"INSERT INTO accounts VALUES {rows}")


def prepared(database):
    """The ids of what is prepared, whoever did it."""
    listing = "XA RECOVER" if database["kind"] == "MariaDB" else "SELECT gid FROM pg_prepared_xacts"
    return query(database, listing)


def judge(databases, committed, aborted):
    """Raise AssertionError where a transfer is half done, done though it was aborted, or not though it was committed.

    committed, aborted: ids of transfers whose blocks said so. Of others only that they are done or not.
    """
    found = {name: dict(query(each, "SELECT id, parts FROM transfers")) for name, each in databases.items()}
    places = Counter(identity for rows in found.values() for identity in rows)
    for rows in found.values():
        for identity, parts in rows.items():
            names = parts.split(",")
            assert places[identity] == len(names), f"{identity} is in {places[identity]} of {parts}"
            assert all(identity in found[name] for name in names), f"{identity} is not in {parts}"
    assert committed <= places.keys(), f"said to be committed, and gone: {sorted(committed - places.keys())[:5]}"
    assert not aborted & places.keys(), f"said to be aborted, and done: {sorted(aborted & places.keys())[:5]}"
    total = sum(query(each, "SELECT sum(balance) FROM accounts")[0][0] for each in databases.values())
    assert total == len(databases) * ACCOUNTS * BALANCE
    return len(places)
