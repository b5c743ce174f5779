#!/usr/bin/env bash
# SAQ 0.26.4 (redis-py 7.4.1) beside Redis 7.0.15 (Debian 12): a job that was scheduled for a later time, fails, and is to
# be tried again without a delay, is queued twice. Two workers, or two slots of one, run it at the same time, and both
# get to the end. A job that was to run at once is tried again once, as is one with a retry_delay.
#
# The retry puts the job into the queue, and also among those that wait for their time, with its old time, which is over:
# so the scheduler, which looks once a second, puts it into the queue, too, unless the job has ended by then.
#
# Seen (each job may be tried five times, fails the first time, and takes four seconds each other time):
#     at once: runs that ended: 1; at the same time: 1
#     scheduled: runs that ended: 2; at the same time: 2
#     scheduled, with a retry_delay: runs that ended: 1; at the same time: 1
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

from saq import Queue, Worker

logging.disable()
failed, ended, inside, most = set(), Counter(), Counter(), Counter()


async def report(context, title):
    """Fails at the first try, and takes four seconds at each other one."""
    if title not in failed:
        failed.add(title)
        raise ValueError("fails once")
    inside[title] += 1
    most[title] = max(most[title], inside[title])
    await asyncio.sleep(4)
    inside[title] -= 1
    ended[title] += 1


async def main():
    queue = Queue.from_url(f"redis://127.0.0.1:{sys.argv[1]}")
    worker = Worker(queue, functions=[report], concurrency=10)
    working = asyncio.create_task(worker.start())
    await asyncio.sleep(2)
    stories = {
        "at once": {},
        "scheduled": {"scheduled": int(time.time()) + 2},
        "scheduled, with a retry_delay": {"scheduled": int(time.time()) + 2, "retry_delay": 1.0},
    }
    for title, options in stories.items():
        await queue.enqueue("report", title=title, retries=5, **options)
    await asyncio.sleep(14)
    for title in stories:
        print(f"{title}: runs that ended: {ended[title]}; at the same time: {most[title]}")
    await worker.stop()
    await working
    await queue.disconnect()


asyncio.run(main())
PYTHON
env/bin/python jobs.py "$port" | tee seen
diff seen - <<'SEEN'
at once: runs that ended: 1; at the same time: 1
scheduled: runs that ended: 2; at the same time: 2
scheduled, with a retry_delay: runs that ended: 1; at the same time: 1
SEEN
