#!/usr/bin/env bash
# sqlalchemy-dlock 0.9.0 (SQLAlchemy 2.1.9, psycopg 3.3.9) beside PostgreSQL 15.20 (Debian 12): if a statement fails in
# a `with create_sadlock(...)` block, the lock is not released. It stays with the database connection, which goes back
# to the pool, and nobody else gets the lock while the pool keeps that connection.
#
# Behind the failed statement PostgreSQL refuses all others until the transaction is rolled back, also the one that
# releases the lock; and the lock belongs to the session, so that the rollback, which the pool does, leaves it.
#
# Seen (the statement divides by zero):
#     a block with SELECT 1: done
#         connections in use: 0
#         another program acquires within 5 s: True
#     a block with SELECT 1 / 0: InFailedSqlTransaction
#         connections in use: 0
#         another program acquires within 5 s: False
#     the pool is closed; another program acquires within 5 s: True
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q postgresql-15=15.20-0+deb12u1 libpq5=15.20-0+deb12u1 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q sqlalchemy-dlock==0.9.0 sqlalchemy==2.1.9 'psycopg[binary]==3.3.9'
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
user=()
if [ "$(id -u)" = 0 ]; then # PostgreSQL does not run as root.
    chown nobody "$place"
    user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
bin=debian/usr/lib/postgresql/15/bin
export LC_ALL=C LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu
"${user[@]}" "$bin/initdb" -D data -U tester -E UTF8 --auth=trust >initdb.log
"${user[@]}" "$bin/postgres" -D data -p "$port" -k "$place" -h 127.0.0.1  >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >locks.py <<'PYTHON'
import sys

import sqlalchemy
from sqlalchemy import text
from sqlalchemy_dlock import create_sadlock

url = f"postgresql+psycopg://tester@127.0.0.1:{sys.argv[1]}/postgres"
first, other = sqlalchemy.create_engine(url), sqlalchemy.create_engine(url)


def work(statement):
    try:
        with first.connect() as connection, create_sadlock(connection, "report"):
            connection.execute(text(statement))
    except sqlalchemy.exc.DBAPIError as error:
        return type(error.orig).__name__
    return "done"


def another_gets_it():
    with other.connect() as connection:
        lock = create_sadlock(connection, "report")
        got = lock.acquire(timeout=5)
        if got:
            lock.release()
        return got


for statement in ("SELECT 1", "SELECT 1 / 0"):
    print(f"a block with {statement}: {work(statement)}")
    print("    connections in use:", first.pool.checkedout())
    print("    another program acquires within 5 s:", another_gets_it())
first.dispose()
print("the pool is closed; another program acquires within 5 s:", another_gets_it())
PYTHON
env/bin/python locks.py "$port" | tee seen
diff seen - <<'SEEN'
a block with SELECT 1: done
    connections in use: 0
    another program acquires within 5 s: True
a block with SELECT 1 / 0: InFailedSqlTransaction
    connections in use: 0
    another program acquires within 5 s: False
the pool is closed; another program acquires within 5 s: True
SEEN
