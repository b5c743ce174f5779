#!/usr/bin/env bash
# aiozk 0.32.0 beside Apache ZooKeeper 3.8.0 (Debian 12): a Lease with a limit of one is obtained by all clients that ask
# at the same time. One that asks later is refused.
#
# The holders are counted before one's own znode is made, and not again behind it.
#
# Seen:
#     five clients ask for the one lease at once, obtained: 5
#     a sixth asks afterwards, obtained: 0
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

cat >leases.py <<'PYTHON'
import asyncio
import sys
from datetime import timedelta

from aiozk import ZKClient


async def start():
    client = ZKClient(sys.argv[1])
    await client.start()
    return client


async def main():
    clients = [await start() for _ in range(6)]
    await clients[0].ensure_path("/lease")
    leases = [client.recipes.Lease("/lease", limit=1) for client in clients]
    minute = timedelta(minutes=1)
    obtained = await asyncio.gather(*(lease.obtain(minute) for lease in leases[:5]))
    print("five clients ask for the one lease at once, obtained:", sum(obtained))
    print("a sixth asks afterwards, obtained:", int(await leases[5].obtain(minute)))
    for client in clients:
        await client.close()


asyncio.run(main())
PYTHON
env/bin/python leases.py "127.0.0.1:$port" | tee seen
diff seen - <<'SEEN'
five clients ask for the one lease at once, obtained: 5
a sixth asks afterwards, obtained: 0
SEEN
