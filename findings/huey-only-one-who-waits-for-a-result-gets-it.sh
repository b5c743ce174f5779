#!/usr/bin/env bash
# huey 3.5.4 (redis-py 7.4.1) beside Redis 7.0.15 (Debian 12): with notify_result=True only one of those who wait for a
# task's result gets it when it is there. All others wait for ever, or, if they have a time-out, until that is over, and
# get the result then. Without notify_result, whose purpose is to answer sooner, all of them get it at once.
#
# Who waits pops a mark from a list, and the task's end pushes one mark.
#
# Seen (three wait for the result of one task, which takes a second; preserve=True, so that reading does not remove it):
#     RedisHuey: got the result within 5 s: 3, later: 0
#     RedisHuey, notify_result: got the result within 5 s: 1, later: 0
#     RedisHuey, notify_result, a time-out of 8 s: got the result within 5 s: 1, later: 2
#     RedisExpireHuey: got the result within 5 s: 3, later: 0
#     RedisExpireHuey, notify_result: got the result within 5 s: 1, later: 0
#     RedisExpireHuey, notify_result, a time-out of 8 s: got the result within 5 s: 1, later: 2
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10 liblzf1 libjemalloc2 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q huey==3.5.4 redis==7.4.1
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu debian/usr/bin/redis-server \
    --port "$port" --bind 127.0.0.1 --save '' --dir "$place" >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >results.py <<'PYTHON'
import logging
import os
import sys
import threading
import time

from huey import RedisExpireHuey, RedisHuey

logging.disable()


def story(title, kind, notify, timeout):
    huey = kind(title, port=int(sys.argv[1]), notify_result=notify)

    @huey.task()
    def work():
        time.sleep(1)
        return 42

    consumer = huey.create_consumer(workers=1)
    consumer.start()
    task = work().id
    begin = time.monotonic()
    got = []

    def wait():
        assert huey.result(task, blocking=True, preserve=True, timeout=timeout) == 42
        got.append(time.monotonic() - begin)

    for _ in range(3):
        threading.Thread(target=wait, daemon=True).start()
    time.sleep(12)
    soon = sum(seconds < 5 for seconds in got)
    print(f"{title}: got the result within 5 s: {soon}, later: {len(got) - soon}", flush=True)


for kind, name in (RedisHuey, "RedisHuey"), (RedisExpireHuey, "RedisExpireHuey"):
    story(name, kind, False, None)
    story(f"{name}, notify_result", kind, True, None)
    story(f"{name}, notify_result, a time-out of 8 s", kind, True, 8)
os._exit(0)  # some threads wait still
PYTHON
env/bin/python results.py "$port" | tee seen
diff seen - <<'SEEN'
RedisHuey: got the result within 5 s: 3, later: 0
RedisHuey, notify_result: got the result within 5 s: 1, later: 0
RedisHuey, notify_result, a time-out of 8 s: got the result within 5 s: 1, later: 2
RedisExpireHuey: got the result within 5 s: 3, later: 0
RedisExpireHuey, notify_result: got the result within 5 s: 1, later: 0
RedisExpireHuey, notify_result, a time-out of 8 s: got the result within 5 s: 1, later: 2
SEEN
