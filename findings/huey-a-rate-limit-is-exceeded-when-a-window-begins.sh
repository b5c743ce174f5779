#!/usr/bin/env bash
# huey 3.5.4 (redis-py 7.4.1) beside Redis 7.0.15 (Debian 12): with more than one worker a rate_limit lets more tasks run
# than its limit in some of its windows, up to twice as many and more. With one worker it keeps to the limit.
#
# The first worker in a new window sets the counter to zero. Others that come at the same moment do so, too, although the
# first one has counted itself by then. And they do come at the same moment: a task that was refused is scheduled for the
# beginning of the next window, with all others that were.
#
# Seen (at most two tasks in each two seconds, over 20 windows):
#     1 worker: windows with more than two: none
#     16 workers: windows with more than two: some
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

cat >limits.py <<'PYTHON'
import logging
import sys
import time
from collections import Counter

from huey import RedisHuey

logging.disable()


def begin(workers):
    """A consumer with so many workers, and the number of tasks that ran in each window."""
    huey = RedisHuey(f"with{workers}", port=int(sys.argv[1]))
    windows = Counter()

    @huey.task()
    @huey.rate_limit("api", limit=2, per=2)
    def call():
        windows[int(time.time()) // 2] += 1

    for _ in range(80):
        call()
    consumer = huey.create_consumer(workers=workers, scheduler_interval=1)
    consumer.start()
    return consumer, windows


stories = {"1 worker": begin(1), "16 workers": begin(16)}
time.sleep(42)
for title, (consumer, windows) in stories.items():
    print(f"{title}: windows with more than two: {'some' if max(windows.values()) > 2 else 'none'}", flush=True)
    consumer.stop(graceful=True)
PYTHON
timeout 120 env/bin/python limits.py "$port" | tee seen
diff seen - <<'SEEN'
1 worker: windows with more than two: none
16 workers: windows with more than two: some
SEEN
