#!/usr/bin/env bash
# python-redis-lock 4.0.1 (redis-py 8.1.0) beside Redis 7.0.15 (Debian 12): a Lock with auto_renewal that has lost its
# lock once can never acquire it again. Worse, each try takes the lock, and raises: nobody else gets it until it
# expires.
#
# The renewal is a thread. It ends with an error when the lock is gone, and the object takes the dead thread for a
# running one: acquire() first writes the lock to Redis, and then refuses to start a second renewal. release() does not
# help, it leaves the dead thread where it is.
#
# Seen (the lock expires after 6 s; reset() is the library's own way to free a lock by force):
#     one acquires: acquired
#     the renewal ends: NotAcquired
#     one releases: NotAcquired
#     one acquires again: AlreadyStarted
#     other acquires, without waiting: refused
#     other acquires, once that has expired: acquired
#     one acquires again: AlreadyStarted
#     other acquires, without waiting: refused
#     other acquires, once that has expired: acquired
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
import threading

import redis
import redis_lock

logging.disable()
threading.excepthook = lambda args: print("the renewal ends:", args.exc_type.__name__)
client = redis.Redis(port=int(sys.argv[1]), socket_timeout=None)
one = redis_lock.Lock(client, "report", expire=6, auto_renewal=True)
other = redis_lock.Lock(client, "report", expire=9)


def outcome(call, *arguments, **options):
    try:
        return "acquired" if call(*arguments, **options) else "refused"
    except (RuntimeError, redis_lock.NotAcquired) as error:
        return type(error).__name__


print("one acquires:", outcome(one.acquire))
redis_lock.Lock(client, "report").reset()
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join()
print("one releases:", outcome(one.release))
for _ in range(2):
    print("one acquires again:", outcome(one.acquire, blocking=False))
    print("other acquires, without waiting:", outcome(other.acquire, blocking=False))
    print("other acquires, once that has expired:", outcome(other.acquire, timeout=9))
    other.release()
PYTHON
env/bin/python locks.py "$port" | tee seen
diff seen - <<'SEEN'
one acquires: acquired
the renewal ends: NotAcquired
one releases: NotAcquired
one acquires again: AlreadyStarted
other acquires, without waiting: refused
other acquires, once that has expired: acquired
one acquires again: AlreadyStarted
other acquires, without waiting: refused
other acquires, once that has expired: acquired
SEEN
