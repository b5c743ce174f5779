#!/usr/bin/env bash
# kazoo 2.11.0 beside Apache ZooKeeper 3.8.0 (Debian 12): a Lock object whose path another client made as a container,
# as Curator's locks make theirs, works until the servers have removed the empty container, and then never again.
#
# A container is there for this: it goes by itself once its last child has gone, and whoever needs it makes it anew. A
# kazoo Lock makes its path at the first acquire only. A service that takes the same lock now and then so fails with
# NoNodeError, at each acquire, until it is started again; a new Lock object on the same path works at once.
#
# Seen:
#     acquired and released: 1
#     the container was removed
#     acquire of the same object, three times: NoNodeError NoNodeError NoNodeError
#     acquire of a new object: acquired
#     and then of the old one: acquired
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
env/bin/pip install -q kazoo==2.11.0
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' "$place" "$port" >zoo.cfg
java -Dznode.container.checkIntervalMs=200 -cp "root/usr/share/java/*" \
    org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"
printf 'create -c /lock\nquit\n' |
    java -cp "root/usr/share/java/*" org.apache.zookeeper.ZooKeeperMain -waitforconnection -server "127.0.0.1:$port" >/dev/null 2>&1

cat >locks.py <<'PYTHON'
import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError


def outcome(lock):
    try:
        lock.acquire(timeout=10)
    except NoNodeError as error:
        return type(error).__name__
    lock.release()
    return "acquired"


client = KazooClient(sys.argv[1])
client.start()
lock = client.Lock("/lock")
with lock:
    pass
print("acquired and released: 1")
until = time.monotonic() + 30
while client.exists("/lock") and time.monotonic() < until:
    time.sleep(0.05)
print("the container was removed" if not client.exists("/lock") else "the container is there")
print("acquire of the same object, three times:", outcome(lock), outcome(lock), outcome(lock))
print("acquire of a new object:", outcome(client.Lock("/lock")))
print("and then of the old one:", outcome(lock))
client.stop()
PYTHON
env/bin/python locks.py "127.0.0.1:$port" | tee seen
diff seen - <<'SEEN'
acquired and released: 1
the container was removed
acquire of the same object, three times: NoNodeError NoNodeError NoNodeError
acquire of a new object: acquired
and then of the old one: acquired
SEEN
