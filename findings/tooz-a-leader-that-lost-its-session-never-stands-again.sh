#!/usr/bin/env bash
# tooz 9.1.0 (kazoo 2.11.0) beside Apache ZooKeeper 3.8.0 (Debian 12): a coordinator that led a group and lost its
# session is never elected again, not even when nobody else stands. A call that is under way while the session ends may
# raise SessionExpiredError. After that the coordinator has a new session and all its calls succeed, also run_watchers(),
# which is what asks to be elected.
#
# It takes itself for the leader still: kazoo's lock object keeps `is_acquired` after the session that held it has
# ended, and tooz does not try to be elected while its own lock object says so. For the same reason nobody tells the
# former leader that another one leads.
#
# Seen:
#     first stands as well as second: first is elected
#     first stood still for longer than its session: second is elected
#     first is told again that it leads: never
#     second is gone, first goes on asking to be elected, 100 times: nobody leads
#     a new coordinator in the process of first: elected at once
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q libzookeeper-java=3.8.0-11+deb12u2 libnetty-java libslf4j-java libdropwizard-metrics-java \
    libcommons-cli-java libcommons-io-java libjackson2-core-java libjackson2-databind-java libjackson2-annotations-java \
    libsnappy-java libjetty9-java libservlet-api-java libnetty-tcnative-java >/dev/null
for package in *.deb; do dpkg -x "$package" root; done
python3 -m venv env
env/bin/pip install -q tooz==9.1.0 kazoo==2.11.0
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\ntickTime=200\n' \
    "$place" "$port" >zoo.cfg
java -cp "root/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >contender.py <<'PYTHON'
"""Reads commands from standard input, and answers each with one line."""

import sys

from kazoo.exceptions import SessionExpiredError
from tooz import coordination

url, name = sys.argv[1:]
elected = 0


def on_elected(event):
    global elected
    elected += 1


def start():
    coordinator = coordination.get_coordinator(url, name.encode(), timeout="2")
    coordinator.start(start_heart=True)
    try:
        coordinator.create_group(b"workers").get()
    except coordination.GroupAlreadyExist:
        pass
    coordinator.join_group(b"workers").get()
    coordinator.watch_elected_as_leader(b"workers", on_elected)
    return coordinator


coordinator = start()
for command in sys.stdin:
    match command.strip():
        case "run":
            coordinator.run_watchers()
            print(elected, flush=True)
        case "leader":
            try:
                leader = coordinator.get_leader(b"workers").get() or b"nobody"
            except SessionExpiredError:
                leader = b"unknown"
            print(leader.decode(), flush=True)
        case "anew":
            coordinator.stop()
            coordinator = start()
            print("started", flush=True)
coordinator.stop()
PYTHON
cat >story.py <<'PYTHON'
import os
import signal
import subprocess
import sys
import time


class Contender:
    def __init__(self, name):
        self.process = subprocess.Popen(
            [sys.executable, "contender.py", sys.argv[1], name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def until_elected(contender):
    for _ in range(100):
        if contender("run") != "0":
            return contender("leader") + " is elected"
        time.sleep(0.1)
    return contender("leader") + " leads"


first, second = Contender("first"), Contender("second")
first("run"), second("run")
print("first stands as well as second:", until_elected(first))
os.kill(first.process.pid, signal.SIGSTOP)
print("first stood still for longer than its session:", until_elected(second))
os.kill(first.process.pid, signal.SIGCONT)
deadline = time.monotonic() + 20
while first("leader") != "second" and time.monotonic() < deadline:
    time.sleep(0.1)
print("first is told again that it leads:", "never" if first("run") == "1" else "once more")
second.end()
for _ in range(100):
    first("run")
    time.sleep(0.05)
print("second is gone, first goes on asking to be elected, 100 times:", first("leader"), "leads")
first("anew")
before = int(first("run"))
print("a new coordinator in the process of first:", "elected at once" if before == 2 else "not elected")
first.end()
PYTHON
env/bin/python story.py "zookeeper://127.0.0.1:$port" | tee seen
diff seen - <<'SEEN'
first stands as well as second: first is elected
first stood still for longer than its session: second is elected
first is told again that it leads: never
second is gone, first goes on asking to be elected, 100 times: nobody leads
a new coordinator in the process of first: elected at once
SEEN
