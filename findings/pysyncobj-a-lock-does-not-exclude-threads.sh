#!/usr/bin/env bash
# PySyncObj 0.3.14: `ReplLockManager.tryAcquire` gives a lock again to the process that holds it, and one release ends both.
#
# Two threads of one process ask the same lock manager for one lock: both are told True, and both are inside at the same
# time. It is no re-entrant lock either: the first `release` frees the lock, and another server of the cluster acquires it
# while the other thread is still inside. A thread cannot be told apart from its process: the lock is by server. One would
# expect False for the second, as for another server, or a count.
#
# Seen:
#     thread 1 acquires: True
#     thread 2 of the same process acquires: True
#     another server acquires: False
#     thread 1 has released; another server acquires: True
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install -q pysyncobj==0.3.14

cat >threads.py <<'PYTHON'
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from pysyncobj import SyncObj
from pysyncobj.batteries import ReplLockManager

free = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in free]
for each in free:
    each.close()
locks = [ReplLockManager(autoUnlockTime=60) for _ in addresses]
servers = [
    SyncObj(own, [each for each in addresses if each != own], consumers=[lock]) for own, lock in zip(addresses, locks)
]
deadline = time.monotonic() + 60
while not all(each.isReady() for each in servers):
    assert time.monotonic() < deadline, "the servers do not find each other"
    time.sleep(0.05)
here, there = locks[:2]
with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
    first = one.submit(here.tryAcquire, "name", sync=True, timeout=30).result()
    print(f"thread 1 acquires: {first}")
    second = two.submit(here.tryAcquire, "name", sync=True, timeout=30).result()
    print(f"thread 2 of the same process acquires: {second}")
    print(f"another server acquires: {there.tryAcquire('name', sync=True, timeout=30)}")
    one.submit(here.release, "name", sync=True, timeout=30).result()
    print(f"thread 1 has released; another server acquires: {there.tryAcquire('name', sync=True, timeout=30)}", flush=True)
os._exit(0)  # its threads do not end by themselves
PYTHON
timeout 120 venv/bin/python threads.py | tee seen
diff seen - <<'SEEN'
thread 1 acquires: True
thread 2 of the same process acquires: True
another server acquires: False
thread 1 has released; another server acquires: True
SEEN
