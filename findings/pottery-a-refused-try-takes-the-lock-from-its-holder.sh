#!/usr/bin/env bash
# pottery 3.0.1 (redis-py 8.1.0) beside Redis 7.0.15 (Debian 12): a second try to acquire a Redlock object that is held,
# which is refused as it should be, makes the object forget the lock that it holds. Its holder can neither extend nor
# release the lock: it stays locked, for everybody, until its time is over.
#
# A Redlock is used like threading.Lock, of which one object is shared by the threads of a process: one holds it, others
# try. Here each try gives the object a new identity, which the lock in Redis does not have.
#
# Seen (the lock's time is 60 s):
#     acquired: True; tried by 0 other threads: []
#         extended by its holder: done
#         released by its holder: done
#         acquired by another object afterwards: True
#     acquired: True; tried by 1 other threads: [False]
#         extended by its holder: ExtendUnlockedLock
#         released by its holder: ReleaseUnlockedLock
#         acquired by another object afterwards: False
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10 liblzf1 libjemalloc2 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q pottery==3.0.1 redis==8.1.0
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu debian/usr/bin/redis-server \
    --port "$port" --bind 127.0.0.1 --save '' --dir "$place" >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >locks.py <<'PYTHON'
import sys
import threading

import pottery
import redis

client = redis.Redis(port=int(sys.argv[1]))


def outcome(call):
    try:
        call()
    except (pottery.ExtendUnlockedLock, pottery.ReleaseUnlockedLock) as error:
        return type(error).__name__
    return "done"


def story(name, others):
    """A thread holds the lock, others try it once, and the holder goes on. All of them share one object."""
    lock = pottery.Redlock(key=name, masters={client}, auto_release_time=60)
    held = lock.acquire(blocking=False)
    tried = []
    for _ in range(others):
        thread = threading.Thread(target=lambda: tried.append(lock.acquire(blocking=False)))
        thread.start()
        thread.join()
    print(f"acquired: {held}; tried by {others} other threads: {tried}")
    print("    extended by its holder:", outcome(lock.extend))
    print("    released by its holder:", outcome(lock.release))
    anew = pottery.Redlock(key=name, masters={client}, auto_release_time=60)
    print("    acquired by another object afterwards:", anew.acquire(blocking=False))


story("quiet", 0)
story("busy", 1)
PYTHON
env/bin/python locks.py "$port" | tee seen
diff seen - <<'SEEN'
acquired: True; tried by 0 other threads: []
    extended by its holder: done
    released by its holder: done
    acquired by another object afterwards: True
acquired: True; tried by 1 other threads: [False]
    extended by its holder: ExtendUnlockedLock
    released by its holder: ReleaseUnlockedLock
    acquired by another object afterwards: False
SEEN
