#!/usr/bin/env bash
# SAQ 0.26.4 (redis-py 7.4.1) beside Redis 7.0.15 (Debian 12): a CronJob with unique=False, to be run each minute, runs
# about sixty times each minute, all at once. A rarer one runs as many times as there are seconds between two of its
# times. With unique=True it runs once, but not again while it still runs, which is what one would switch off by
# unique=False (documented as "unique jobs only one once per queue").
#
# Each worker enqueues the next run of all its cron jobs once a second. A job's key is what keeps out the second and all
# others, and without unique each of them has a new key.
#
# Seen (one worker; from one full minute to the next):
#     unique: runs: 1
#     not unique: runs: more than 40
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10 liblzf1 libjemalloc2 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q 'saq[redis]==0.26.4' redis==7.4.1 typing_extensions
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu debian/usr/bin/redis-server \
    --port "$port" --bind 127.0.0.1 --save '' --dir "$place" >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >jobs.py <<'PYTHON'
import asyncio
import logging
import sys
import time
from collections import Counter

from saq import CronJob, Queue, Worker

logging.disable()
runs = Counter()


async def unique(context):
    runs["unique"] += 1


async def not_unique(context):
    runs["not unique"] += 1


async def main():
    queue = Queue.from_url(f"redis://127.0.0.1:{sys.argv[1]}")
    jobs = [CronJob(unique, cron="* * * * *"), CronJob(not_unique, cron="* * * * *", unique=False)]
    worker = Worker(queue, functions=[], cron_jobs=jobs, concurrency=10)
    working = asyncio.create_task(worker.start())
    await asyncio.sleep(60 - time.time() % 60 + 30)  # half a minute behind the first full one
    runs.clear()
    await asyncio.sleep(60)
    for title in "unique", "not unique":
        print(f"{title}: runs: {runs[title] if runs[title] <= 40 else 'more than 40'}")
    await worker.stop()
    await working
    await queue.disconnect()


asyncio.run(main())
PYTHON
env/bin/python jobs.py "$port" | tee seen
diff seen - <<'SEEN'
unique: runs: 1
not unique: runs: more than 40
SEEN
