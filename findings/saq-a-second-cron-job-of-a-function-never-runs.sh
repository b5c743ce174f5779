#!/usr/bin/env bash
# SAQ 0.26.4 (redis-py 7.4.1) beside Redis 7.0.15 (Debian 12): of two cron jobs that call one function, with different
# arguments or at different times, only the first of the list runs. The other one never does, and nobody is told. If the
# first one is for new year's day, the one for each minute waits behind it.
#
# By default a cron job is unique, "only one once per queue": it is not queued while it is queued already. What counts as
# the same job is the name of its function, and neither its time nor its arguments. The first job of the list is queued
# anew as soon as it has run.
#
# Seen (one worker, over a full minute):
#     one cron job, each minute: runs: 1
#     two cron jobs of one function, each minute: runs with eu: 1; runs with us: 0
#     one at new year, and one each minute: runs with year: 0; runs with minute: 0
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


async def single(context, what):
    runs[what] += 1


async def by_region(context, what):
    runs[what] += 1


async def by_time(context, what):
    runs[what] += 1


async def main():
    queue = Queue.from_url(f"redis://127.0.0.1:{sys.argv[1]}")
    jobs = [
        CronJob(single, cron="* * * * *", kwargs={"what": "single"}),
        CronJob(by_region, cron="* * * * *", kwargs={"what": "eu"}),
        CronJob(by_region, cron="* * * * *", kwargs={"what": "us"}),
        CronJob(by_time, cron="0 0 1 1 *", kwargs={"what": "year"}),
        CronJob(by_time, cron="* * * * *", kwargs={"what": "minute"}),
    ]
    worker = Worker(queue, functions=[], cron_jobs=jobs, concurrency=10)
    working = asyncio.create_task(worker.start())
    await asyncio.sleep(60 - time.time() % 60 + 30)  # half a minute behind the first full one
    runs.clear()
    await asyncio.sleep(60)
    print(f"one cron job, each minute: runs: {runs['single']}")
    print(f"two cron jobs of one function, each minute: runs with eu: {runs['eu']}; runs with us: {runs['us']}")
    print(f"one at new year, and one each minute: runs with year: {runs['year']}; runs with minute: {runs['minute']}")
    await worker.stop()
    await working
    await queue.disconnect()


asyncio.run(main())
PYTHON
env/bin/python jobs.py "$port" | tee seen
diff seen - <<'SEEN'
one cron job, each minute: runs: 1
two cron jobs of one function, each minute: runs with eu: 1; runs with us: 0
one at new year, and one each minute: runs with year: 0; runs with minute: 0
SEEN
