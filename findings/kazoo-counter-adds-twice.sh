#!/usr/bin/env bash
# kazoo 2.11.0 beside Apache ZooKeeper 3.8.0 (Debian 12): `counter += 1` adds two, without an error, if the connection
# breaks between the server's write and its reply.
#
# The counter writes with the version that it has read, and that would keep a repeated write out. But after a lost reply
# it reads again, and so takes its own write for somebody else's.
#
# Seen (a relay passes the first write on, and breaks the connection in place of the reply):
#     before: 0
#     counter += 1 raised nothing; the counter: 2
#     pre_value and post_value of the counter: 1 and 2
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
env/bin/pip install -q kazoo==2.11.0
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' \
    "$place" "$port" >zoo.cfg
java -cp "root/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >relay.py <<'PYTHON'
"""Passes frames on. In place of the reply to the first setData it breaks the connection."""

import asyncio
import struct
import sys

SET_DATA = 5
lost = []


async def frame(reader):
    head = await reader.readexactly(4)
    return head + await reader.readexactly(*struct.unpack(">i", head))


async def serve(client, to_client):
    server, to_server = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    waiting = []

    async def requests():
        to_server.write(await frame(client))  # the handshake
        while True:
            request = await frame(client)
            xid, kind = struct.unpack_from(">ii", request, 4)
            if kind == SET_DATA and not lost:
                lost.append(xid)
                waiting.append(xid)
            to_server.write(request)

    async def replies():
        to_client.write(await frame(server))
        while True:
            reply = await frame(server)
            if struct.unpack_from(">i", reply, 4)[0] in waiting:
                return
            to_client.write(reply)

    tasks = [asyncio.create_task(requests()), asyncio.create_task(replies())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    to_client.close(), to_server.close()


async def main():
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


asyncio.run(main())
PYTHON
cat >count.py <<'PYTHON'
import subprocess
import sys

from kazoo.client import KazooClient

relay = subprocess.Popen([sys.executable, "relay.py", sys.argv[1]], stdout=subprocess.PIPE, text=True)
client = KazooClient(f"127.0.0.1:{relay.stdout.readline().strip()}")
client.start()
counter = client.Counter("/counter")
print("before:", counter.value)
counter += 1
print("counter += 1 raised nothing; the counter:", counter.value)
print("pre_value and post_value of the counter:", counter.pre_value, "and", counter.post_value)
client.stop()
relay.kill()
PYTHON
env/bin/python count.py "$port" | tee seen
diff seen - <<'SEEN'
before: 0
counter += 1 raised nothing; the counter: 2
pre_value and post_value of the counter: 1 and 2
SEEN
