#!/usr/bin/env bash
# procrastinate 3.10.0 (psycopg 3.3.9) beside PostgreSQL 15.20 (Debian 12): a job with a queueing_lock that is to be
# tried again, while the next job with that queueing_lock waits, is neither tried again nor failed: it stays "doing" for
# ever, although nobody works on it any more. If it has a `lock`, too, no other job with that lock is ever run.
#
# A queueing_lock lets one job wait while another one runs. The retry puts the one that has run among those that wait,
# where there can be only one; the error that the database raises for this is logged, and the job stays as it was
# (reported as procrastinate-org/procrastinate#1543).
#
# Seen (each job may be tried three times, and fails the first time):
#     a job alone:
#         succeeded, runs: 2
#     a job, and another one that is deferred while it runs:
#         doing, runs: 1
#         todo, runs: 0
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q postgresql-15=15.20-0+deb12u1 libpq5=15.20-0+deb12u1 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
python3 -m venv env
env/bin/pip install -q procrastinate==3.10.0 'psycopg[binary]==3.3.9'
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
user=()
if [ "$(id -u)" = 0 ]; then # PostgreSQL does not run as root.
    chown nobody "$place"
    user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
bin=debian/usr/lib/postgresql/15/bin
export LC_ALL=C LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu
"${user[@]}" "$bin/initdb" -D data -U tester -E UTF8 --auth=trust >initdb.log
"${user[@]}" "$bin/postgres" -D data -p "$port" -k "$place" -h 127.0.0.1  >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >jobs.py <<'PYTHON'
import asyncio
import logging
import sys

import procrastinate

logging.disable()
url = f"postgresql://tester@127.0.0.1:{sys.argv[1]}/postgres"
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))
runs = []


@app.task(retry=procrastinate.RetryStrategy(max_attempts=3), pass_context=True)
async def report(context, behind):
    """Fails at the first try. If `behind` is given, a job with that queueing_lock is deferred while this one runs."""
    runs.append(context.job.id)
    if runs.count(context.job.id) == 1:
        if behind:
            await report.configure(queueing_lock=behind, lock=behind).defer_async(behind="")
        raise ValueError("fails once")


async def story(title, lock, behind):
    await report.configure(queueing_lock=lock, lock=lock).defer_async(behind=behind)
    await app.run_worker_async(wait=False)  # until it finds no job that it can run
    await app.run_worker_async(wait=False)
    print(title)
    for job in await app.job_manager.list_jobs_async(lock=lock):
        print(f"    {job.status}, runs: {runs.count(job.id)}")


async def main():
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await story("a job alone:", "alone", "")
        await story("a job, and another one that is deferred while it runs:", "both", "both")


asyncio.run(main())
PYTHON
env/bin/python jobs.py "$port" | tee seen
diff seen - <<'SEEN'
a job alone:
    succeeded, runs: 2
a job, and another one that is deferred while it runs:
    doing, runs: 1
    todo, runs: 0
SEEN
