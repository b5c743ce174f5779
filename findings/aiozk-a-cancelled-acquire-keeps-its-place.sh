#!/usr/bin/env bash
# aiozk 0.32.0 beside Apache ZooKeeper 3.8.0 (Debian 12): a task that is cancelled while it waits for a Lock, by
# asyncio.wait_for() for one, leaves its znode in the line. Once the holder has released the lock nobody gets it, as long
# as the client of the cancelled task runs on; and its Lock object refuses each further acquire.
#
# The lock's own `acquire(timeout=...)` takes its znode away, so only cancellation does this, which is how asyncio bounds
# a wait.
#
# Seen:
#     first holds the lock
#     second waits for 0.5 s by asyncio.wait_for: TimeoutError
#     first has released it, third waits for 5 s: TimeoutError
#     second tries again: RuntimeError
#     the client of second is closed, third: acquired
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q libzookeeper-java=3.8.0-11+deb12u2 libnetty-java libslf4j-java libdropwizard-metrics-java \
    libcommons-cli-java libcommons-io-java libjackson2-core-java libjackson2-databind-java libjackson2-annotations-java \
    libsnappy-java libjetty9-java libservlet-api-java libnetty-tcnative-java >/dev/null
for package in *.deb; do dpkg -x "$package" root; done
python3 -m venv env
env/bin/pip install -q aiozk==0.32.0
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' \
    "$place" "$port" >zoo.cfg
java -cp "root/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >locks.py <<'PYTHON'
import asyncio
import sys

from aiozk import ZKClient
from aiozk.exc import TimeoutError as OwnTimeoutError


async def start():
    client = ZKClient(sys.argv[1])
    await client.start()
    return client


async def outcome(acquire):
    try:
        await acquire
    except (TimeoutError, OwnTimeoutError, RuntimeError) as error:
        return type(error).__name__
    return "acquired"


async def main():
    clients = [await start() for _ in range(3)]
    first, second, third = (client.recipes.Lock("/lock") for client in clients)
    await first.acquire()
    print("first holds the lock")
    print("second waits for 0.5 s by asyncio.wait_for:", await outcome(asyncio.wait_for(second.acquire(), 0.5)))
    await first.release()
    print("first has released it, third waits for 5 s:", await outcome(third.acquire(timeout=5)))
    print("second tries again:", await outcome(second.acquire(timeout=5)))
    await clients[1].close()
    print("the client of second is closed, third:", await outcome(third.acquire(timeout=5)))
    await third.release()
    await clients[0].close()
    await clients[2].close()


asyncio.run(main())
PYTHON
env/bin/python locks.py "127.0.0.1:$port" | tee seen
diff seen - <<'SEEN'
first holds the lock
second waits for 0.5 s by asyncio.wait_for: TimeoutError
first has released it, third waits for 5 s: TimeoutError
second tries again: RuntimeError
the client of second is closed, third: acquired
SEEN
