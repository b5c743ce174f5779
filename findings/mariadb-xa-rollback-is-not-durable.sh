#!/usr/bin/env bash
# MariaDB 10.11.19 (Debian 12, PyMySQL 1.1.1): XA ROLLBACK is acknowledged before it is on disk, with innodb_flush_log_at_trx_commit = 1.
#
# A branch is prepared, and rolled back: the server says OK. Then the server's process is killed (SIGKILL; the machine goes
# on) and started again: in some of the rounds XA RECOVER lists the branch as prepared once more, with its locks. XA COMMIT
# showed nothing of the kind. One would expect both ends of a prepared branch to be durable once they are acknowledged: a
# transaction manager that drops its record behind the answer leaves a branch that nobody ends.
#
# Seen (rounds differ from run to run):
#     10.11.19-MariaDB-0+deb12u1, innodb_flush_log_at_trx_commit = 1
#     rolled back, acknowledged, and prepared again behind a kill: round 0
#     still there behind one more start: [(1, 2, 0, 'r0')]
#     committed, acknowledged, and prepared again behind a kill: 0 of 20
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

cat >rounds.py <<'PYTHON'
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


def one_round(number, verb):
    """Whether a branch whose end was acknowledged is prepared behind a kill."""
    global process, connection
    name = f"{verb[0].lower()}{number}"
    other = connect()
    for sql in (f"XA START '{name}'", f"INSERT INTO d.t VALUES ('{name}')", f"XA END '{name}'", f"XA PREPARE '{name}'"):
        ask(other, sql)
    ask(other, f"XA {verb} '{name}'")  # raises unless the server acknowledges it
    process.kill()
    process.wait()
    process, connection = start()
    return ask(connection, "XA RECOVER")


os.mkdir(DATA)
process, connection = start()
try:
    ask(connection, "CREATE DATABASE d")
    ask(connection, "CREATE TABLE d.t (name varchar(20) PRIMARY KEY) ENGINE = InnoDB")
    ((version, flush),) = ask(connection, "SELECT version(), @@innodb_flush_log_at_trx_commit")
    print(f"{version}, innodb_flush_log_at_trx_commit = {flush}")
    committed = sum(bool(one_round(number, "COMMIT")) for number in range(20))
    for number in range(80):
        if found := one_round(number, "ROLLBACK"):
            print(f"rolled back, acknowledged, and prepared again behind a kill: round {number}")
            break
    else:
        sys.exit("none of 80 acknowledged rollbacks was undone by a kill")
    process.kill()
    process.wait()
    process, connection = start()
    again = ask(connection, "XA RECOVER")
    print(f"still there behind one more start: {again}")
    print(f"committed, acknowledged, and prepared again behind a kill: {committed} of 20")
    if flush != 1 or committed or again != found:
        sys.exit("something has changed")
finally:
    process.kill()
    process.wait()
PYTHON
venv/bin/python rounds.py
