#!/usr/bin/env bash
# python-redis-lock 4.0.1 with redis-py 8.1.0 beside Redis 7.0.15 (Debian 12): whoever asks to wait at most 20 seconds
# for a lock waits for about 55, and gets TimeoutError from redis-py in place of the answer that the lock was not to be
# had. A wait without a limit ends in the same way. Nothing is wrong with the connection.
#
# The library waits by BLPOP, which the server answers once the lock is released or the time is over. redis-py 8 gives
# up reading from a socket after five seconds, unless it is told otherwise, and sends the command again, with its full
# time, up to ten times. A command that blocks is no exception. Earlier versions set no limit.
#
# Seen (somebody holds each lock throughout):
#     lock 1, client as it comes, limit 3: refused after less than 40 s
#     lock 2, client as it comes, limit 20: TimeoutError after more than 40 s
#     lock 3, client as it comes, limit None: TimeoutError after more than 40 s
#     lock 4, client with socket_timeout=None, limit 20: refused after less than 40 s
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10 liblzf1 libjemalloc2 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q python-redis-lock==4.0.1 redis==8.1.0
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
from concurrent.futures import ThreadPoolExecutor

import redis
import redis_lock

logging.disable()


def story(title, options, limit):
    client = redis.Redis(port=int(sys.argv[1]), **options)
    redis_lock.Lock(client, title).acquire()
    begin = time.monotonic()
    try:
        what = "acquired" if redis_lock.Lock(client, title).acquire(timeout=limit) else "refused"
    except redis.TimeoutError as error:
        what = type(error).__name__
    seconds = time.monotonic() - begin
    return f"{title}, limit {limit}: {what} after {'more' if seconds > 40 else 'less'} than 40 s"


stories = [
    ("client as it comes", {}, 3),
    ("client as it comes", {}, 20),
    ("client as it comes", {}, None),
    ("client with socket_timeout=None", {"socket_timeout": None}, 20),
]
stories = [(f"lock {number}, {title}", *others) for number, (title, *others) in enumerate(stories, 1)]
with ThreadPoolExecutor(len(stories)) as threads:
    for line in threads.map(lambda each: story(*each), stories):
        print(line)
PYTHON
env/bin/python locks.py "$port" | tee seen
diff seen - <<'SEEN'
lock 1, client as it comes, limit 3: refused after less than 40 s
lock 2, client as it comes, limit 20: TimeoutError after more than 40 s
lock 3, client as it comes, limit None: TimeoutError after more than 40 s
lock 4, client with socket_timeout=None, limit 20: refused after less than 40 s
SEEN
