#!/usr/bin/env bash
# node-zookeeper-client 1.1.3 (Node 20) beside Apache ZooKeeper 3.8.0 (Debian 12): a request made while the client is
# between two connections is refused with NO_AUTH, although addAuthInfo() was called long before and the same request
# works before and after.
#
# Requests wait in a queue until the client is connected again, and the credentials go to the end of that queue, so that
# the server gets them last. Other clients send the credentials first.
#
# Seen (the connection is cut once, and the client connects again by itself):
#     connected, read: answered
#     disconnected, read: NO_AUTH
#     connected again, read: answered
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
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' \
    "$place" "$port" >zoo.cfg
java -cp "root/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >client.js <<'NODE'
const net = require("net");
const zookeeper = require("node-zookeeper-client");

// A relay that can cut its connections.
const sockets = [];
const relay = net.createServer((near) => {
  const far = net.connect(Number(process.argv[2]), "127.0.0.1");
  for (const [from, to] of [[near, far], [far, near]]) {
    sockets.push(from);
    from.on("error", () => {});
    from.on("close", () => to.destroy());
    from.pipe(to);
  }
});

relay.listen(0, "127.0.0.1", () => {
  const client = zookeeper.createClient(`127.0.0.1:${relay.address().port}`);
  const read = (when, next) =>
    client.getData("/secret", (error) => {
      console.log(`${when}, read: ${error ? error.name : "answered"}`);
      next();
    });
  client.addAuthInfo("digest", Buffer.from("somebody:password"));
  client.once("disconnected", () =>
    read("disconnected", () => read("connected again", () => process.exit())),
  );
  client.once("connected", () => {
    const owner = [new zookeeper.ACL(zookeeper.Permission.ALL, new zookeeper.Id("auth", ""))];
    client.create("/secret", Buffer.from("1"), owner, (error) => {
      if (error) throw error;
      read("connected", () => sockets.forEach((socket) => socket.destroy()));
    });
  });
  client.connect();
});
NODE
timeout 60 node client.js "$port" | tee seen
diff seen - <<'SEEN'
connected, read: answered
disconnected, read: NO_AUTH
connected again, read: answered
SEEN
