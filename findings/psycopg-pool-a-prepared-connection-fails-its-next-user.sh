#!/usr/bin/env bash
# psycopg-pool 3.3.3 (psycopg 3.3.9) beside PostgreSQL 15.20 (Debian 12): a connection that goes back to the pool behind
# tpc_prepare(), so that somebody else ends the transaction by its id, fails its next user, who knows nothing of two
# phases: all statements succeed, commit() raises ProgrammingError, and the work is lost. A connection that goes back in
# the midst of such a transaction, before it was prepared, is discarded, and its next user gets another one.
#
# The pool looks at the server's side, which is idle once it has prepared. The connection's own side is not: it waits for
# tpc_commit() or tpc_rollback().
#
# Seen (a pool of one connection; both next users insert a row):
#     begun only, putconn(): done; next user: done; the one after: done; rows: 2
#     prepared, putconn(): done; next user: ProgrammingError; the one after: done; rows: 1
#     prepared, with pool.connection(): ProgrammingError; next user: ProgrammingError; the one after: done; rows: 1
#     prepared, close(), putconn(): done; next user: done; the one after: done; rows: 2
#     prepared transactions, each of which is there to be ended: 3
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q postgresql-15=15.20-0+deb12u1 libpq5=15.20-0+deb12u1 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q 'psycopg[binary]==3.3.9' psycopg-pool==3.3.3
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
user=()
if [ "$(id -u)" = 0 ]; then # PostgreSQL does not run as root.
    chown nobody "$place"
    user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
bin=debian/usr/lib/postgresql/15/bin
export LC_ALL=C LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu
"${user[@]}" "$bin/initdb" -D data -U tester -E UTF8 --auth=trust >initdb.log
"${user[@]}" "$bin/postgres" -D data -p "$port" -k "$place" -h 127.0.0.1 -c max_prepared_transactions=10 >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >phases.py <<'PYTHON'
import logging
import sys

import psycopg
from psycopg_pool import ConnectionPool

logging.disable()
url = f"host=127.0.0.1 port={sys.argv[1]} user=tester dbname=postgres"
pool = ConnectionPool(url, min_size=1, max_size=1, open=True)
with pool.connection() as connection:
    connection.execute("CREATE TABLE work (story text)")


def prepare(connection, title):
    connection.tpc_begin(title)
    connection.execute("SELECT 1")
    connection.tpc_prepare()


def begun_only(title):
    connection = pool.getconn()
    connection.tpc_begin(title)
    connection.execute("SELECT 1")
    pool.putconn(connection)


def prepared(title):
    connection = pool.getconn()
    prepare(connection, title)
    pool.putconn(connection)


def prepared_in_block(title):
    with pool.connection() as connection:
        prepare(connection, title)


def prepared_and_closed(title):
    connection = pool.getconn()
    prepare(connection, title)
    connection.close()
    pool.putconn(connection)


def insert(title):
    with pool.connection() as connection:
        connection.execute("INSERT INTO work VALUES (%s)", [title])


def outcome(function, title):
    try:
        function(title)
    except psycopg.Error as error:
        return type(error).__name__
    return "done"


stories = {
    "begun only, putconn()": begun_only,
    "prepared, putconn()": prepared,
    "prepared, with pool.connection()": prepared_in_block,
    "prepared, close(), putconn()": prepared_and_closed,
}
for title, function in stories.items():
    what, following, after = outcome(function, title), outcome(insert, title), outcome(insert, title)
    with psycopg.connect(url) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM work WHERE story = %s", [title]).fetchone()
    print(f"{title}: {what}; next user: {following}; the one after: {after}; rows: {rows}")
with psycopg.connect(url, autocommit=True) as connection:
    print(f"prepared transactions, each of which is there to be ended: {len(connection.tpc_recover())}")
    for xid in connection.tpc_recover():
        connection.tpc_rollback(xid)
pool.close()
PYTHON
timeout 120 env/bin/python phases.py "$port" | tee seen
diff seen - <<'SEEN'
begun only, putconn(): done; next user: done; the one after: done; rows: 2
prepared, putconn(): done; next user: ProgrammingError; the one after: done; rows: 1
prepared, with pool.connection(): ProgrammingError; next user: ProgrammingError; the one after: done; rows: 1
prepared, close(), putconn(): done; next user: done; the one after: done; rows: 2
prepared transactions, each of which is there to be ended: 3
SEEN
