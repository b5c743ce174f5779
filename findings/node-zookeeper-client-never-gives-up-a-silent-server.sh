#!/usr/bin/env bash
# node-zookeeper-client 1.1.3 (Node 20) beside Apache ZooKeeper 3.8.0 (Debian 12): a client whose server falls silent, as
# when its machine loses power or its network, stays "connected" and waits for it, also when its list names more servers.
# Its session ends meanwhile, so that what it holds by an ephemeral znode passes to others, and it is not told.
#
# It sends pings, and does not watch for their answers: only the end of the TCP connection tells it something. The Java
# client, the C client and kazoo leave a server that has been silent for two thirds of the session's timeout.
#
# Seen (session timeouts of 2 s; both clients are connected through a relay, which is stopped by SIGSTOP for 12 s):
#     node-zookeeper-client, in 12 s of silence: no event, a read is not answered
#     kazoo, in 12 s of silence: SUSPENDED
#     the ephemeral znode of node-zookeeper-client: gone
#     node-zookeeper-client, the relay goes on: disconnected expired
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
npm install --silent --no-audit --no-fund node-zookeeper-client@1.1.3 >/dev/null
python3 -m venv env
env/bin/pip install -q kazoo==2.11.0
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\ntickTime=200\n' \
    "$place" "$port" >zoo.cfg
java -cp "root/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >client.js <<'NODE'
const zookeeper = require("node-zookeeper-client");

const client = zookeeper.createClient(process.argv[2], { sessionTimeout: 2000 });
client.on("disconnected", () => console.log("disconnected"));
client.once("connected", () => {
  client.create("/here", zookeeper.CreateMode.EPHEMERAL, (error) => console.log(error ? error.name : "created"));
});
client.on("expired", () => {
  console.log("expired");
  process.exit();
});
client.connect();
process.stdin.on("data", () => client.getData("/", (error) => console.log(error ? "no answer" : "answered")));
NODE
cat >relay.py <<'PYTHON'
import asyncio
import sys


async def pass_on(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass
    writer.close()


async def serve(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer))


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
PYTHON
cat >story.py <<'PYTHON'
import os
import signal
import subprocess
import sys
import threading
import time

from kazoo.client import KazooClient

relay = subprocess.Popen([sys.executable, "relay.py", sys.argv[1]], stdout=subprocess.PIPE, text=True)
relayed = f"127.0.0.1:{relay.stdout.readline().strip()}"
observer = KazooClient(f"127.0.0.1:{sys.argv[1]}")
observer.start()
states = []
kazoo = KazooClient(relayed, timeout=2)
kazoo.start()
kazoo.add_listener(states.append)
node = subprocess.Popen(["node", "client.js", relayed], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
lines = []


def listen():
    for line in node.stdout:
        lines.append(line.strip())


listener = threading.Thread(target=listen)
listener.start()


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


wait_for(lambda: "created" in lines)
lines.clear()
os.kill(relay.pid, signal.SIGSTOP)
node.stdin.write("read\n")
node.stdin.flush()
time.sleep(12)
print("node-zookeeper-client, in 12 s of silence:", " ".join(lines) or "no event, a read is not answered")
print("kazoo, in 12 s of silence:", *states)
print("the ephemeral znode of node-zookeeper-client:", "there" if observer.exists("/here") else "gone")
lines.clear()
os.kill(relay.pid, signal.SIGCONT)
wait_for(lambda: node.poll() is not None)
listener.join(5)
print("node-zookeeper-client, the relay goes on:", *(line for line in lines if line != "no answer"))
if node.poll() is None:
    node.kill()
kazoo.stop(), observer.stop()
relay.kill()
PYTHON
env/bin/python story.py "$port" | tee seen
diff seen - <<'SEEN'
node-zookeeper-client, in 12 s of silence: no event, a read is not answered
kazoo, in 12 s of silence: SUSPENDED
the ephemeral znode of node-zookeeper-client: gone
node-zookeeper-client, the relay goes on: disconnected expired
SEEN
