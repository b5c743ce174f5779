#!/usr/bin/env bash
# huey 3.5.4 (redis-py 7.4.1) beside Redis 7.0.15 (Debian 12): a task that takes longer than the ttl of its lock_task takes
# away, when it ends, the lock of the task that came after it. A third one then runs at the same time as that second one,
# which is well within its own ttl. Each task that overruns so lets the next two meet, also if they are quick.
#
# The ttl is there "so a killed worker cannot hold it forever". The end of a block deletes the lock, whosever it is. The
# Lock of redis-py, which huey uses as its client, raises LockNotOwnedError there, and leaves the lock.
#
# Seen (the ttl is 6 s; the first task takes 10 s; the second begins after 7 s and takes 5; others try in between):
#     7 s: second begins
#     8 s: third is refused
#     10 s: first ends
#     11 s: fourth begins
#     12 s: second ends
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10 liblzf1 libjemalloc2 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q huey==3.5.4 redis==7.4.1
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu debian/usr/bin/redis-server \
    --port "$port" --bind 127.0.0.1 --save '' --dir "$place" >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >locks.py <<'PYTHON'
import logging
import sys
import time

from huey import RedisExpireHuey
from huey.signals import SIGNAL_LOCKED

logging.disable()
huey = RedisExpireHuey(port=int(sys.argv[1]))


@huey.task()
@huey.lock_task("report", ttl=6)
def report(name, seconds):
    tell(name, "begins")
    time.sleep(seconds)
    tell(name, "ends")


@huey.signal(SIGNAL_LOCKED)
def locked(signal, task):
    tell(task.args[0], "is refused")


def tell(name, what):
    seconds = round(time.monotonic() - begin)
    if 0 < seconds < 13:
        print(f"{seconds} s: {name} {what}", flush=True)


consumer = huey.create_consumer(workers=4)
consumer.start()
time.sleep(1)
begin = time.monotonic()
report("first", 10)
for after, name, seconds in (7, "second", 5), (8, "third", 3), (11, "fourth", 3):
    time.sleep(begin + after - time.monotonic())
    report(name, seconds)
time.sleep(5)
consumer.stop(graceful=True)
PYTHON
timeout 60 env/bin/python locks.py "$port" | tee seen
diff seen - <<'SEEN'
7 s: second begins
8 s: third is refused
10 s: first ends
11 s: fourth begins
12 s: second ends
SEEN
