#!/usr/bin/env bash
# SQLAlchemy 2.1.9 (psycopg 3.3.9) beside PostgreSQL 15.20 (Debian 12): a Session with twophase=True commits in one
# database and not in the other, if a statement failed in the latter, the program caught its error, and then committed
# the session. That is what two phases are there to prevent, and the first one raises nothing.
#
# PostgreSQL answers PREPARE TRANSACTION of a failed transaction without an error, by rolling it back: its vote is no.
# Neither psycopg nor SQLAlchemy looks at the answer. So all databases seem to be prepared, and the second phase commits
# them in any order until it comes to the one that is not there. With one phase only, such a commit does nothing at all.
#
# Seen (transfers of 1 from one database to the other; a duplicate key is caught in the second one; up to 50 tries,
# since the order of the second phase changes):
#     before: 100 100
#     the first phase raised: nothing, the second: UndefinedObject
#     after: 99 100
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q postgresql-15=15.20-0+deb12u1 libpq5=15.20-0+deb12u1 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q sqlalchemy==2.1.9 'psycopg[binary]==3.3.9'
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
user=()
if [ "$(id -u)" = 0 ]; then # PostgreSQL does not run as root.
    chown nobody "$place"
    user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
bin=debian/usr/lib/postgresql/15/bin
export LC_ALL=C LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu
"${user[@]}" "$bin/initdb" -D data -U tester -E UTF8 --auth=trust >initdb.log
"${user[@]}" "$bin/postgres" -D data -p "$port" -k "$place" -h 127.0.0.1  \
    -c max_prepared_transactions=10 >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >transfers.py <<'PYTHON'
import sys

import sqlalchemy
from sqlalchemy import text
from sqlalchemy.orm import Session


def engine(database, **options):
    url = f"postgresql+psycopg://tester@127.0.0.1:{sys.argv[1]}/{database}"
    return sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool, **options)


with engine("postgres", isolation_level="AUTOCOMMIT").connect() as connection:
    connection.execute(text("CREATE DATABASE one"))
    connection.execute(text("CREATE DATABASE two"))
banks = engine("one"), engine("two")
for bank in banks:
    with bank.begin() as connection:
        connection.execute(text("CREATE TABLE account (id int PRIMARY KEY, value int)"))
        connection.execute(text("INSERT INTO account VALUES (1, 100)"))


def values():
    found = []
    for bank in banks:
        with bank.connect() as connection:
            found.append(connection.execute(text("SELECT value FROM account")).scalar_one())
    return found


def transfer():
    """Answers what the first phase raised, and what the second one."""
    raised = []
    session = Session(twophase=True)
    try:
        one, two = (session.connection(bind_arguments={"bind": bank}) for bank in banks)
        one.execute(text("UPDATE account SET value = value - 1"))
        two.execute(text("UPDATE account SET value = value + 1"))
        try:
            two.execute(text("INSERT INTO account VALUES (1, 0)"))
        except sqlalchemy.exc.IntegrityError:
            pass
        for phase in (session.prepare, session.commit):
            try:
                phase()
            except sqlalchemy.exc.DBAPIError as error:
                raised.append(type(error.orig).__name__)
            else:
                raised.append("nothing")
    finally:
        session.close()
    return raised


print("before:", *values())
for _ in range(50):
    first, second = transfer()
    if values() != [100, 100]:
        break
print(f"the first phase raised: {first}, the second: {second}")
print("after:", *values())
PYTHON
env/bin/python transfers.py "$port" | tee seen
diff seen - <<'SEEN'
before: 100 100
the first phase raised: nothing, the second: UndefinedObject
after: 99 100
SEEN
