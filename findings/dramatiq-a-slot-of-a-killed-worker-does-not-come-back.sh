#!/usr/bin/env bash
# dramatiq 2.2.1 (redis-py 8.1.0) beside Redis 7.0.15 (Debian 12): a slot of a ConcurrentRateLimiter whose worker was
# killed does not come back when its time to live is over, but only once nobody has used the limiter for that long. A
# limiter in constant use loses a slot for good with each worker that is killed, until none is left.
#
# All slots are one number, and each acquire and each release begins the time to live of that number anew.
#
# Seen (limit 2, time to live 8 s; each line says how many of two slots can be had at once):
#     before: 2
#     a worker is killed: 1
#     others use the limiter for three times its time to live: 1
#     nobody uses it for its time to live: 2
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

cat >worker.py <<'PYTHON'
import sys
import time

import redis
from dramatiq.rate_limits import ConcurrentRateLimiter
from dramatiq.rate_limits.backends import RedisBackend


def limiter(port):
    return ConcurrentRateLimiter(RedisBackend(client=redis.Redis(port=port)), "report", limit=2, ttl=8_000)


if __name__ == "__main__":
    with limiter(int(sys.argv[1])).acquire():
        print("in", flush=True)
        time.sleep(600)
PYTHON
cat >slots.py <<'PYTHON'
import subprocess
import sys
import time

from worker import limiter

slots = limiter(int(sys.argv[1]))


def to_be_had():
    with slots.acquire(raise_on_failure=False) as first, slots.acquire(raise_on_failure=False) as second:
        return first + second


print("before:", to_be_had())
worker = subprocess.Popen([sys.executable, "worker.py", sys.argv[1]], stdout=subprocess.PIPE, text=True)
worker.stdout.readline()
worker.kill()
worker.wait()
print("a worker is killed:", to_be_had())
end = time.monotonic() + 24
while time.monotonic() < end:
    with slots.acquire(raise_on_failure=False):
        time.sleep(0.2)
print("others use the limiter for three times its time to live:", to_be_had())
while slots.backend.client.exists("report"):
    time.sleep(0.1)
print("nobody uses it for its time to live:", to_be_had())
PYTHON
env/bin/python slots.py "$port" | tee seen
diff seen - <<'SEEN'
before: 2
a worker is killed: 1
others use the limiter for three times its time to live: 1
nobody uses it for its time to live: 2
SEEN
