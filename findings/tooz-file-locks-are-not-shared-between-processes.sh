#!/usr/bin/env bash
# tooz 9.1.0, driver file: two coordinators of one process hold a lock with shared=True at the same time. Two processes
# do not: the second one is refused, or waits, as for an exclusive lock, although the driver says that it works across
# processes, and a driver without shared locks is documented to raise NotImplemented.
#
# Within a process the driver keeps its own account of who shares. The lock on the file, which is what other processes
# see, is exclusive in any case.
#
# Seen (the second one asks without waiting):
#     in one process, shared and shared: acquired acquired
#     in one process, shared and exclusive: acquired refused
#     in two processes, shared and shared: acquired refused
#     once the first has released it: acquired
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv env
env/bin/pip install -q tooz==9.1.0 fasteners==0.20

cat >holder.py <<'PYTHON'
import sys

from tooz import coordination

coordinator = coordination.get_coordinator(f"file://{sys.argv[1]}", b"another process")
coordinator.start()
lock = coordinator.get_lock(b"report")
print("acquired" if lock.acquire(shared=True, blocking=False) else "refused", flush=True)
sys.stdin.readline()
lock.release()
coordinator.stop()
PYTHON
cat >locks.py <<'PYTHON'
import os
import subprocess
import sys

from tooz import coordination


def outcome(lock, **options):
    return "acquired" if lock.acquire(blocking=False, **options) else "refused"


one = coordination.get_coordinator(f"file://{os.getcwd()}/locks", b"one")
two = coordination.get_coordinator(f"file://{os.getcwd()}/locks", b"two")
one.start(), two.start()
first, second = one.get_lock(b"report"), two.get_lock(b"report")
print("in one process, shared and shared:", outcome(first, shared=True), outcome(second, shared=True))
first.release(), second.release()
print("in one process, shared and exclusive:", outcome(first, shared=True), outcome(second))
command = [sys.executable, "holder.py", f"{os.getcwd()}/locks"]
with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
    print("in two processes, shared and shared: acquired", other.stdout.readline().strip())
    other.communicate("\n")
first.release()
with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
    print("once the first has released it:", other.stdout.readline().strip())
    other.communicate("\n")
one.stop(), two.stop()
PYTHON
env/bin/python locks.py | tee seen
diff seen - <<'SEEN'
in one process, shared and shared: acquired acquired
in one process, shared and exclusive: acquired refused
in two processes, shared and shared: acquired refused
once the first has released it: acquired
SEEN
