#!/usr/bin/env bash
# kazoo 2.11.0 beside Apache ZooKeeper 3.8.0 (Debian 12): a LockingQueue object that held an entry when its session
# ended cannot be used again. get() gives that entry over and over, also when another consumer has consumed it long ago;
# holds_lock(), which is documented to answer False then, and consume() and release(), which are documented to answer
# whether they succeeded, raise NoNodeError, each time. The client itself has a new session, and works.
#
# The object remembers the entry until it is consumed or released, and asks for that whether the znode of its lock is
# its own. That there is none is an error here.
#
# Seen (two entries; the session of first ends, and its client goes on with a new one; second consumes):
#     first gets b'one'
#     second gets b'one' and consumes it: True
#     first: holds_lock NoNodeError consume NoNodeError release NoNodeError get b'one'
#     first: holds_lock NoNodeError consume NoNodeError release NoNodeError get b'one'
#     a new object of the same client gets b'two'
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q libzookeeper-java=3.8.0-11+deb12u2 libnetty-java libslf4j-java libdropwizard-metrics-java \
    libcommons-cli-java libcommons-io-java libjackson2-core-java libjackson2-databind-java libjackson2-annotations-java \
    libsnappy-java libjetty9-java libservlet-api-java libnetty-tcnative-java >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q kazoo==2.11.0
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' \
    "$place" "$port" >zoo.cfg
java -cp "debian/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >queues.py <<'PYTHON'
import logging
import sys
import threading

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import NoNodeError

logging.disable()


def connect(**options):
    client = KazooClient(sys.argv[1], **options)
    client.start()
    return client


def outcome(call, **options):
    try:
        return call(**options)
    except NoNodeError as error:
        return type(error).__name__


one, two = connect(), connect()
first, second = one.LockingQueue("/jobs"), two.LockingQueue("/jobs")
first.put_all([b"one", b"two"])
print("first gets", first.get(timeout=10))
lost, back = threading.Event(), threading.Event()


def listen(state):
    if state == KazooState.LOST:
        lost.set()
    elif state == KazooState.CONNECTED and lost.is_set():
        back.set()


one.add_listener(listen)
same = connect(client_id=one.client_id)  # the usual way to end a session: another client joins it, and closes it
same.stop()
assert back.wait(30), "the client does not come back"
print("second gets", second.get(timeout=10), "and consumes it:", second.consume())
for _ in range(2):
    print("first: holds_lock", outcome(first.holds_lock), "consume", outcome(first.consume), end=" ")
    print("release", outcome(first.release), "get", outcome(first.get, timeout=10))
print("a new object of the same client gets", one.LockingQueue("/jobs").get(timeout=10))
one.stop(), two.stop()
PYTHON
env/bin/python queues.py "127.0.0.1:$port" | tee seen
diff seen - <<'SEEN'
first gets b'one'
second gets b'one' and consumes it: True
first: holds_lock NoNodeError consume NoNodeError release NoNodeError get b'one'
first: holds_lock NoNodeError consume NoNodeError release NoNodeError get b'one'
a new object of the same client gets b'two'
SEEN
