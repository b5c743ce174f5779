#!/usr/bin/env bash
# etcd3gw 2.7.0 beside etcd 3.4.23 (Debian 12): `with client.lock(name):` runs its block also while another client holds
# the lock, at once and without an error. acquire() does not wait: it tries once and returns False, and the with statement
# does not look at what it returned. Locks of other libraries wait at this place, or raise.
#
# Seen:
#     three threads, each with a client of its own, meet in a block under one lock: 3 inside at once
#     for which of them is_acquired() was true: 1
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q etcd-server=3.4.23-4+b4 >/dev/null
dpkg -x etcd-server*.deb root
python3 -m venv env
env/bin/pip install -q etcd3gw==2.7.0
free() { python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])'; }
port=$(free) peers=http://127.0.0.1:$(free)
root/usr/bin/etcd --data-dir data --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
    --listen-peer-urls "$peers" --initial-advertise-peer-urls "$peers" --initial-cluster "default=$peers" >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >blocks.py <<'PYTHON'
import sys
import threading

import etcd3gw

inside = threading.Barrier(3)
met, acquired = [], []


def work(name):
    lock = etcd3gw.client(host="127.0.0.1", port=int(sys.argv[1])).lock("report", ttl=60)
    with lock:
        acquired.append(lock.is_acquired())
        try:
            inside.wait(timeout=20)
        except threading.BrokenBarrierError:
            return
        met.append(name)


threads = [threading.Thread(target=work, args=(name,)) for name in ("first", "second", "third")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"three threads, each with a client of its own, meet in a block under one lock: {len(met)} inside at once")
print("for which of them is_acquired() was true:", sum(acquired))
PYTHON
env/bin/python blocks.py "$port" | tee seen
diff seen - <<'SEEN'
three threads, each with a client of its own, meet in a block under one lock: 3 inside at once
for which of them is_acquired() was true: 1
SEEN
