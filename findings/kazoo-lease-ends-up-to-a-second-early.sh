#!/usr/bin/env bash
# kazoo 2.11.0 beside Apache ZooKeeper 3.8.0 (Debian 12): a NonBlockingLease ends up to one second before its duration is
# over, so that two programs hold it at once, on one machine with one clock. One of less than a second may exclude nobody.
#
# The znode stores the time of the end in whole seconds, rounded down. The same holds for MultiNonBlockingLease.
#
# Seen (obtained at .8 to .9 of a second of the clock, and at .0 to .1):
#     a lease of 1 s at .8: another program holds it before half of that is over
#     a lease of 0.5 s at .0: another program holds it at once
#     a lease of 1 s at .0: another program does not hold it before half of that is over
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
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' \
    "$place" "$port" >zoo.cfg
java -cp "root/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >leases.py <<'PYTHON'
import sys
import time
from datetime import timedelta

from kazoo.client import KazooClient

first, second = KazooClient(sys.argv[1]), KazooClient(sys.argv[1])
first.start(), second.start()


def obtain_both(name, seconds, tenths):
    """How long, in seconds, the first program had the lease before the second had it too."""
    path = f"/lease/{name}"
    first.ensure_path(path)
    while int(time.time() * 10) % 10 != tenths:
        time.sleep(0.001)
    duration = timedelta(seconds=seconds)
    assert first.NonBlockingLease(path, duration, identifier="first")
    begin = time.monotonic()
    tries = 0
    while not second.NonBlockingLease(path, duration, identifier="second"):
        tries += 1
        time.sleep(0.01)
    return time.monotonic() - begin, tries


def early(seconds, limit):
    return "holds it" if seconds < limit else "does not hold it"


print("a lease of 1 s at .8: another program", early(obtain_both("one", 1, 8)[0], 0.5), "before half of that is over")
tries = obtain_both("two", 0.5, 0)[1]
print("a lease of 0.5 s at .0: another program", "holds it at once" if not tries else f"tried {tries} times")
print("a lease of 1 s at .0: another program", early(obtain_both("three", 1, 0)[0], 0.5), "before half of that is over")
first.stop(), second.stop()
PYTHON
env/bin/python leases.py "127.0.0.1:$port" | tee seen
diff seen - <<'SEEN'
a lease of 1 s at .8: another program holds it before half of that is over
a lease of 0.5 s at .0: another program holds it at once
a lease of 1 s at .0: another program does not hold it before half of that is over
SEEN
