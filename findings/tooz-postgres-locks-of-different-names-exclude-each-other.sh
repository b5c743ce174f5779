#!/usr/bin/env bash
# tooz 9.1.0 (psycopg2 2.9.10) beside PostgreSQL 15.20 (Debian 12): there are only 65,536 different locks. Two names that
# share the first two bytes of their MD5 are one lock, so that a program waits for somebody who does something else, and a
# task that takes a second lock while it holds one may wait for itself for ever. Among 300 names the chance of such a pair
# is about one half.
#
# PostgreSQL's advisory locks have 64 bits for a key; the driver hands over two numbers of one byte each.
#
# Seen:
#     names tried until two are one lock: at most 1500
#     one is held; the other, asked for without waiting: refused
#     a third name meanwhile: acquired
#     the first is released; the other: acquired
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q postgresql-15=15.20-0+deb12u1 libpq5=15.20-0+deb12u1 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q tooz==9.1.0 psycopg2-binary==2.9.10
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
user=()
if [ "$(id -u)" = 0 ]; then # PostgreSQL does not run as root.
    chown nobody "$place"
    user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
bin=debian/usr/lib/postgresql/15/bin
export LC_ALL=C LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu
"${user[@]}" "$bin/initdb" -D data -U tester --auth=trust >initdb.log
"${user[@]}" "$bin/postgres" -D data -p "$port" -k "$place" -h 127.0.0.1 >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >locks.py <<'PYTHON'
import hashlib
import sys
import warnings

from tooz import coordination

warnings.simplefilter("ignore")  # the driver is deprecated
url = f"postgresql://tester@127.0.0.1:{sys.argv[1]}/postgres"
one, two = (coordination.get_coordinator(url, name) for name in (b"one", b"two"))
one.start(), two.start()


def outcome(lock):
    return "acquired" if lock.acquire(blocking=False) else "refused"


seen = {}
for number in range(1500):
    name = b"job %d" % number
    start = hashlib.md5(name).digest()[:2]
    if start in seen:
        break
    seen[start] = name
else:
    sys.exit("all names are locks of their own")
held = one.get_lock(seen[start])
assert held.acquire()
print("names tried until two are one lock: at most 1500")
other = two.get_lock(name)
print("one is held; the other, asked for without waiting:", outcome(other))
third = two.get_lock(b"something else")
print("a third name meanwhile:", outcome(third))
held.release()
print("the first is released; the other:", outcome(other))
other.release(), third.release()
one.stop(), two.stop()
PYTHON
env/bin/python locks.py "$port" | tee seen
diff seen - <<'SEEN'
names tried until two are one lock: at most 1500
one is held; the other, asked for without waiting: refused
a third name meanwhile: acquired
the first is released; the other: acquired
SEEN
