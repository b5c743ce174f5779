#!/usr/bin/env bash
# redis-py 8.1.0 beside Redis 7.0.15 (Debian 12): a command whose reply is lost, since the connection breaks between the
# server's write and its reply, is sent again, and done again, without an error, whatever command it is. A counter counts
# twice, an item is queued twice, one is taken and dropped and the next one returned in its place. A Lock that it has
# taken it refuses to itself: nobody holds it, and nobody gets it until its time is over, or ever if it has none. One
# that it has released it says it did not own.
#
# Retries are on by default since version 6. Before that the same client raised ConnectionError, so that the program knew
# that it did not know.
#
# Seen (a relay passes one command on, and breaks the connection in place of the reply):
#     redis-py 8.1.0: incr: 2; the counter is 2
#     redis-py 8.1.0: rpush: 2; the queue has 2
#     redis-py 8.1.0: lpop of first, second: b'second'; the queue has 0
#     redis-py 8.1.0: Lock.acquire(3 s): False; another client's: False; owned: False; locked: True
#     redis-py 8.1.0: Lock.release: LockNotOwnedError; locked: False
#     redis-py 5.3.1: incr: ConnectionError; the counter is 1
#     redis-py 5.3.1: rpush: ConnectionError; the queue has 1
#     redis-py 5.3.1: lpop of first, second: ConnectionError; the queue has 1
#     redis-py 5.3.1: Lock.acquire(3 s): ConnectionError; another client's: False; owned: False; locked: True
#     redis-py 5.3.1: Lock.release: ConnectionError; locked: False
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10 liblzf1 libjemalloc2 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu debian/usr/bin/redis-server \
    --port "$port" --bind 127.0.0.1 --save '' --dir "$place" >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"
for version in 8.1.0 5.3.1; do
    python3 -m venv "env-$version"
    "env-$version/bin/pip" install -q redis==$version
done

cat >relay.py <<'PYTHON'
"""Passes all on. Once told so by SIGUSR1 it breaks the connection in place of the next reply."""

import asyncio
import signal
import sys

armed = False


def arm():
    global armed
    armed = True
    print("armed", flush=True)


async def serve(client, to_client):
    server, to_server = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))

    async def requests():
        while request := await client.read(65536):
            to_server.write(request)

    async def replies():
        global armed
        while reply := await server.read(65536):
            if armed:
                armed = False
                return
            to_client.write(reply)

    tasks = [asyncio.create_task(requests()), asyncio.create_task(replies())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    to_client.close(), to_server.close()


async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, arm)
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


asyncio.run(main())
PYTHON
cat >commands.py <<'PYTHON'
import signal
import subprocess
import sys

import redis

relay = subprocess.Popen([sys.executable, "relay.py", sys.argv[1]], stdout=subprocess.PIPE, text=True)
behind_relay = redis.Redis(port=int(relay.stdout.readline()))
direct = redis.Redis(port=int(sys.argv[1]))
direct.flushall()


def lose_reply(command, *args, **options):
    behind_relay.ping()
    relay.send_signal(signal.SIGUSR1)
    assert relay.stdout.readline() == "armed\n"
    try:
        return command(*args, **options)
    except redis.RedisError as error:
        return type(error).__name__


def tell(text):
    print(f"redis-py {redis.__version__}: {text}", flush=True)


tell(f"incr: {lose_reply(behind_relay.incr, 'counter')}; the counter is {int(direct.get('counter'))}")
tell(f"rpush: {lose_reply(behind_relay.rpush, 'queue', 'item')}; the queue has {direct.llen('queue')}")
direct.rpush("jobs", "first", "second")
tell(f"lpop of first, second: {lose_reply(behind_relay.lpop, 'jobs')}; the queue has {direct.llen('jobs')}")
lock = behind_relay.lock("one")
what = lose_reply(lock.acquire, blocking_timeout=3)
other = direct.lock("one").acquire(blocking_timeout=3)
tell(f"Lock.acquire(3 s): {what}; another client's: {other}; owned: {lock.owned()}; locked: {lock.locked()}")
with behind_relay.lock("other"):
    pass  # the server knows the script by which a lock is released
lock = behind_relay.lock("two")
assert lock.acquire()
tell(f"Lock.release: {lose_reply(lock.release)}; locked: {lock.locked()}")
relay.kill()
PYTHON
for version in 8.1.0 5.3.1; do "env-$version/bin/python" commands.py "$port"; done | tee seen
diff seen - <<'SEEN'
redis-py 8.1.0: incr: 2; the counter is 2
redis-py 8.1.0: rpush: 2; the queue has 2
redis-py 8.1.0: lpop of first, second: b'second'; the queue has 0
redis-py 8.1.0: Lock.acquire(3 s): False; another client's: False; owned: False; locked: True
redis-py 8.1.0: Lock.release: LockNotOwnedError; locked: False
redis-py 5.3.1: incr: ConnectionError; the counter is 1
redis-py 5.3.1: rpush: ConnectionError; the queue has 1
redis-py 5.3.1: lpop of first, second: ConnectionError; the queue has 1
redis-py 5.3.1: Lock.acquire(3 s): ConnectionError; another client's: False; owned: False; locked: True
redis-py 5.3.1: Lock.release: ConnectionError; locked: False
SEEN
