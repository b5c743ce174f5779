#!/usr/bin/env bash
# arq 0.28.0 (redis-py 5.3.1) beside Redis 7.0.15 (Debian 12): Job.abort() for a job that is over already ends the next job
# with the same id, however much later it is enqueued: that one is enqueued without an error, and then never runs. Its
# result is a CancelledError, which is kept for an hour although this job's results are not, and keeps out further jobs
# with that id. An id of one's own is documented as the way to have a job only once at a time.
#
# The abort leaves a mark for the id, and the job that has it takes it away. Marks are meant to go after a minute, but what
# the workers remove are those from the future (reported as python-arq/arq#485).
#
# Seen (a job of one second, whose result is not kept; it is aborted one second after its end, and enqueued twice more):
#     first job: runs: 1, status: not_found
#     abort: False
#     two minutes later: second job: runs: 0, result: CancelledError
#     third job: runs: 0, not enqueued
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
from arq.worker import func

logging.disable()
runs = 0


async def report(context):
    global runs
    runs += 1
    await asyncio.sleep(1)


async def main():
    global runs
    settings = RedisSettings(port=int(sys.argv[1]))
    pool = await create_pool(settings)
    functions = [func(report, keep_result=0)]
    worker = Worker(functions, redis_settings=settings, allow_abort_jobs=True, handle_signals=False)
    working = asyncio.create_task(worker.async_run())

    async def story(title):
        global runs
        runs = 0
        job = await pool.enqueue_job("report", _job_id="report")
        await asyncio.sleep(3)
        if job is None:
            what = "not enqueued"
        elif result := await job.result_info():
            what = f"result: {type(result.result).__name__}"
        else:
            what = f"status: {(await job.status()).value}"
        print(f"{title}: runs: {runs}, {what}", flush=True)
        return job

    job = await story("first job")
    print(f"abort: {await job.abort()}", flush=True)
    await asyncio.sleep(120)
    await story("two minutes later: second job")
    await story("third job")
    working.cancel()
    await worker.close()


asyncio.run(main())
PYTHON
env/bin/python jobs.py "$port" 2>errors | tee seen
diff seen - <<'SEEN'
first job: runs: 1, status: not_found
abort: False
two minutes later: second job: runs: 0, result: CancelledError
third job: runs: 0, not enqueued
SEEN
