#!/usr/bin/env bash
# sherlock 0.4.1 (redis-py 8.1.0) beside Redis 7.0.15 (Debian 12): a RedisLock with `expire=None`, which its
# documentation describes as a lock that does not expire, is not held at all. acquire() returns True, and everybody else
# gets the lock at once.
#
# The script that takes the lock gets "no expiry" as the argument -1, and compares that text with the number -1. In Lua
# the two differ. So the new key gets a time to live of -1 seconds, by which Redis deletes it at once.
#
# Seen:
#     expire=60: first acquires: True, and is locked(): True; second acquires meanwhile: False
#     expire=60: release by first: released
#     expire=None: first acquires: True, and is locked(): False; second acquires meanwhile: True
#     expire=None: release by first: LockException
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10 liblzf1 libjemalloc2 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q sherlock==0.4.1 redis==8.1.0
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu debian/usr/bin/redis-server \
    --port "$port" --bind 127.0.0.1 --save '' --dir "$place" >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >locks.py <<'PYTHON'
import sys

import redis
import sherlock

client = redis.Redis(port=int(sys.argv[1]))


def lock(name, expire):
    return sherlock.RedisLock(name, client=client, expire=expire)


def story(expire):
    name = f"report {expire}"
    first, second = lock(name, expire), lock(name, expire)
    held = first.acquire(blocking=False)
    locked, both = first.locked(), second.acquire(blocking=False)
    print(f"expire={expire}: first acquires: {held}, and is locked(): {locked}; second acquires meanwhile: {both}")
    try:
        first.release()
    except sherlock.LockException as error:
        print(f"expire={expire}: release by first: {type(error).__name__}")
    else:
        print(f"expire={expire}: release by first: released")


story(60)
story(None)
PYTHON
env/bin/python locks.py "$port" | tee seen
diff seen - <<'SEEN'
expire=60: first acquires: True, and is locked(): True; second acquires meanwhile: False
expire=60: release by first: released
expire=None: first acquires: True, and is locked(): False; second acquires meanwhile: True
expire=None: release by first: LockException
SEEN
