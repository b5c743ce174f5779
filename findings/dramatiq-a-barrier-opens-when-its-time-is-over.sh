#!/usr/bin/env bash
# dramatiq 2.2.1 (redis-py 8.1.0) beside Redis 7.0.15 (Debian 12): a Barrier opens for the first party that arrives
# after its time to live is over, and says that all have arrived. So it does before it was created. wait() is documented
# to return whether all parties have reached the barrier.
#
# A barrier is a number that counts down to one. A number that is not there counts as zero, and zero is taken for a
# barrier that everybody has reached.
#
# Seen (each barrier is for three parties):
#     1 of 3, 2 of 3, 3 of 3: wait, wait, all have arrived
#     1 of 3, its time to live passes, 2 of 3: wait, all have arrived
#     1 of 3, before the barrier is created: all have arrived
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10 liblzf1 libjemalloc2 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q dramatiq==2.2.1 redis==8.1.0
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu debian/usr/bin/redis-server \
    --port "$port" --bind 127.0.0.1 --save '' --dir "$place" >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >barriers.py <<'PYTHON'
import sys
import time

import redis
from dramatiq.rate_limits import Barrier
from dramatiq.rate_limits.backends import RedisBackend

backend = RedisBackend(client=redis.Redis(port=int(sys.argv[1])))


def arrive(barrier):
    return "all have arrived" if barrier.wait(block=False) else "wait"


barrier = Barrier(backend, "kept", ttl=60_000)
barrier.create(parties=3)
print("1 of 3, 2 of 3, 3 of 3:", ", ".join(arrive(barrier) for _ in range(3)))
barrier = Barrier(backend, "late", ttl=5_000)
barrier.create(parties=3)
first = arrive(barrier)
while backend.client.exists("late"):
    time.sleep(0.1)
print("1 of 3, its time to live passes, 2 of 3:", ", ".join((first, arrive(barrier))))
print("1 of 3, before the barrier is created:", arrive(Barrier(backend, "early")))
PYTHON
env/bin/python barriers.py "$port" | tee seen
diff seen - <<'SEEN'
1 of 3, 2 of 3, 3 of 3: wait, wait, all have arrived
1 of 3, its time to live passes, 2 of 3: wait, all have arrived
1 of 3, before the barrier is created: all have arrived
SEEN
