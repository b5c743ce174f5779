#!/usr/bin/env bash
# arq 0.28.0 (redis-py 5.3.1) beside Redis 7.0.15 (Debian 12): of one queue no more than 100 jobs run at a time, however
# many workers there are. While 100 long jobs run, all others wait, although workers are free: so jobs that wait for others
# of their queue, 100 of them, wait for ever.
#
# A job stays in the queue while it runs. A worker looks at the first 100 entries of the queue for one that nobody runs,
# or at five times as many as it may run itself. This is queue_read_limit, "the maximum number of jobs to pull from the
# queue each time it's polled", which sounds like a matter of speed: a worker pulls again all the time.
#
# Seen (12 workers, each of which may run 10 jobs, as is the default; 110 jobs that wait for what the 111th does):
#     running: 100; places that are free: 20
#     job 111: does not run in 15 s
#     queue_read_limit=1000: running: 110; places that are free: 10
#     queue_read_limit=1000: job 111: runs
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10 liblzf1 libjemalloc2 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q arq==0.28.0 redis==5.3.1
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

from arq import Worker, create_pool
from arq.connections import RedisSettings

logging.disable()
running = most = 0
done = asyncio.Event()


async def wait(context):
    global running, most
    running += 1
    most = max(most, running)
    await done.wait()


async def finish(context):
    done.set()


async def story(title, **options):
    global running, most
    running = most = 0
    done.clear()
    settings = RedisSettings(port=int(sys.argv[1]))
    pool = await create_pool(settings)
    await pool.flushall()
    workers = [Worker([wait, finish], redis_settings=settings, handle_signals=False, **options) for _ in range(12)]
    working = [asyncio.create_task(worker.async_run()) for worker in workers]
    for _ in range(110):
        await pool.enqueue_job("wait")
    await asyncio.sleep(10)
    await pool.enqueue_job("finish")
    try:
        await asyncio.wait_for(done.wait(), 15)
        what = "runs"
    except asyncio.TimeoutError:
        what = "does not run in 15 s"
    print(f"{title}running: {most}; places that are free: {sum(each.max_jobs for each in workers) - most}")
    print(f"{title}job 111: {what}", flush=True)
    done.set()
    await asyncio.sleep(2)
    for each in working:
        each.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    for each in workers:
        await each.close()


async def main():
    await story("")
    await story("queue_read_limit=1000: ", queue_read_limit=1000)


asyncio.run(main())
PYTHON
env/bin/python jobs.py "$port" 2>errors | tee seen
diff seen - <<'SEEN'
running: 100; places that are free: 20
job 111: does not run in 15 s
queue_read_limit=1000: running: 110; places that are free: 10
queue_read_limit=1000: job 111: runs
SEEN
