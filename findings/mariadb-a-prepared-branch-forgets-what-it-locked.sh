#!/usr/bin/env bash
# MariaDB 10.11.19 (Debian 12): a prepared XA branch keeps the row that it locked by SELECT ... FOR UPDATE until the
# server is killed or restarted, and not beyond. After that only the rows that the branch has changed are locked, so that
# another transaction may change what the branch has read and relied on, while the branch is prepared and can still be
# committed: a transfer that locked an account to look at it, for one, no longer keeps others from emptying it.
#
# Seen (a branch locks row 1 FOR UPDATE, changes row 2, and is prepared; its connection is closed; others try for 1 s):
#     before: row 1 locked, row 2 locked; prepared: 1
#     the server was stopped and started: row 1 free, row 2 locked; prepared: 1
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
version=1:10.11.19-0+deb12u1
apt-get download -q "mariadb-server-core=$version" "mariadb-client-core=$version" libaio1 libnuma1 liburing2 >/dev/null
for package in *.deb; do dpkg -x "$package" root; done
python3 -m venv venv
venv/bin/pip install -q PyMySQL==1.1.1

cat >story.py <<'PYTHON'
import glob
import os
import subprocess
import sys
import time

import pymysql

ROOT, DATA, SOCKET = f"{os.getcwd()}/root", f"{os.getcwd()}/data", f"{os.getcwd()}/socket"
LIBRARIES = ":".join(sorted({os.path.dirname(each) for each in glob.glob(f"{ROOT}/**/*.so*", recursive=True)}))
ENVIRONMENT = {**os.environ, "LD_LIBRARY_PATH": LIBRARIES}
SERVER = [
    f"{ROOT}/usr/sbin/mariadbd", "--no-defaults", f"--datadir={DATA}", f"--socket={SOCKET}", f"--pid-file={DATA}/pid",
    f"--lc-messages-dir={ROOT}/usr/share/mysql", "--skip-networking", "--skip-grant-tables", "--user=root",
    "--innodb-buffer-pool-size=16M",
]


def start():
    with open("log", "ab") as log:
        process = subprocess.Popen(SERVER, env=ENVIRONMENT, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while True:
        try:
            return process, connect()
        except pymysql.Error:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("the server does not start:\n" + open("log").read()[-2000:])
            time.sleep(0.05)


def connect():
    return pymysql.connect(unix_socket=SOCKET, user="root", autocommit=True)


def ask(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [tuple(each.decode() if isinstance(each, bytes) else each for each in row) for row in cursor.fetchall()]


def state_of(row):
    try:
        ask(connection, f"UPDATE d.t SET value = value + 1 WHERE id = {row}")
    except pymysql.err.OperationalError as error:
        assert error.args[0] == 1205, error  # the wait for the lock is over
        return "locked"
    return "free"


def state():
    ask(connection, "SET innodb_lock_wait_timeout = 1")
    prepared = len(ask(connection, "XA RECOVER"))
    return f"row 1 {state_of(1)}, row 2 {state_of(2)}; prepared: {prepared}"


os.mkdir(DATA)
process, connection = start()
try:
    ask(connection, "CREATE DATABASE d")
    ask(connection, "CREATE TABLE d.t (id int PRIMARY KEY, value int) ENGINE = InnoDB")
    ask(connection, "INSERT INTO d.t VALUES (1, 0), (2, 0)")
    branch = connect()
    for sql in (
        "XA START 'b'",
        "SELECT value FROM d.t WHERE id = 1 FOR UPDATE",
        "UPDATE d.t SET value = 1 WHERE id = 2",
        "XA END 'b'",
        "XA PREPARE 'b'",
    ):
        ask(branch, sql)
    branch.close()
    print("before:", state())
    process.terminate()
    process.wait()
    process, connection = start()
    print("the server was stopped and started:", state())
finally:
    process.kill()
    process.wait()
PYTHON
venv/bin/python story.py | tee seen
diff seen - <<'SEEN'
before: row 1 locked, row 2 locked; prepared: 1
the server was stopped and started: row 1 free, row 2 locked; prepared: 1
SEEN
