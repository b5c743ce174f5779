#!/usr/bin/env bash
# sqlalchemy-dlock 0.9.0 (SQLAlchemy 2.1.9, PyMySQL 1.1.1) beside MariaDB 10.11.19 (Debian 12): acquire() without a
# time-out, and so each `with create_sadlock(...)` block, fails at once, also while nobody holds the lock. With a
# time-out it works.
#
# The library waits without a limit by GET_LOCK(name, -1). For MySQL a negative time-out is no limit. MariaDB answers
# NULL with a warning, "Incorrect timeout value", and the library, which registers MariaDB as compatible, raises.
#
# Seen (nobody else is connected):
#     server: 10.11.19-MariaDB-0+deb12u1
#     acquire({}): SqlAlchemyDLockDatabaseError
#         the server's warning: Incorrect timeout value: '-1' for function get_lock
#     acquire({'timeout': 3600}): True
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
version=1:10.11.19-0+deb12u1
apt-get download -q "mariadb-server-core=$version" "mariadb-client-core=$version" libaio1 libnuma1 liburing2 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q sqlalchemy-dlock==0.9.0 sqlalchemy==2.1.9 PyMySQL==1.1.1
mkdir data
libraries=$(find debian -name '*.so*' -printf "$place/%h\n" | sort -u | paste -sd:)
LD_LIBRARY_PATH=$libraries debian/usr/sbin/mariadbd --no-defaults --datadir="$place/data" --socket="$place/socket" \
    --pid-file="$place/pid" --lc-messages-dir="$place/debian/usr/share/mysql" --skip-networking --skip-grant-tables \
    --user=root --innodb-buffer-pool-size=16M >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until [ -S '$place/socket' ]; do sleep 0.1; done"

cat >locks.py <<'PYTHON'
import sys

import sqlalchemy
from sqlalchemy import text
from sqlalchemy_dlock import create_sadlock
from sqlalchemy_dlock.exceptions import SqlAlchemyDLockDatabaseError

engine = sqlalchemy.create_engine(f"mariadb+pymysql://root@localhost/?unix_socket={sys.argv[1]}")
with engine.connect() as connection:
    print("server:", connection.execute(text("SELECT version()")).scalar_one())
    for options in ({}, {"timeout": 3600}):
        lock = create_sadlock(connection, "report")
        try:
            print(f"acquire({options}):", lock.acquire(**options))
            lock.release()
        except SqlAlchemyDLockDatabaseError as error:
            print(f"acquire({options}):", type(error).__name__)
            print("    the server's warning:", connection.exec_driver_sql("SHOW WARNINGS").all()[0][2])
PYTHON
env/bin/python locks.py "$place/socket" | tee seen
diff seen - <<'SEEN'
server: 10.11.19-MariaDB-0+deb12u1
acquire({}): SqlAlchemyDLockDatabaseError
    the server's warning: Incorrect timeout value: '-1' for function get_lock
acquire({'timeout': 3600}): True
SEEN
