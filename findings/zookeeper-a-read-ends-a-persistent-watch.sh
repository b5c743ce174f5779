#!/usr/bin/env bash
# Apache ZooKeeper 3.8.0 (Debian 12): a read that sets an ordinary watch ends the persistent watch of the
# same client on the same path.
#
# A client adds a persistent watch (addWatch, since 3.6) and hears of every change, until it, or a recipe of the same
# session, reads the znode with a one-time watch: the server keeps one mode for each client and path, and the last one
# given replaces the others. One more event comes, then none, and nobody is told. One would expect the two to be there
# side by side, as in 3.9.
#
# Seen:
#     3.8.0: 5 changes, events with the persistent watch alone: 5
#     3.8.0: 5 changes, events after a read with a one-time watch: 1
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
printf 'dataDir=%s/data\nclientPort=0\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' "$place" >zoo.cfg
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
sed -i "s/clientPort=0/clientPort=$port/" zoo.cfg
java -cp "root/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

# The command line of the same version; it prints a line for each event.
ask() {
    java -cp "root/usr/share/java/*" org.apache.zookeeper.ZooKeeperMain -server "127.0.0.1:$port" 2>/dev/null
}
changes() { for number in 1 2 3 4 5; do echo "set $1 $number"; echo "sync $1"; sleep 0.2; done; }
alone=$({ echo 'create /alone'; echo 'addWatch -m PERSISTENT /alone'; changes /alone; echo quit; } | ask | grep -c NodeDataChanged)
behind=$({ echo 'create /behind'; echo 'addWatch -m PERSISTENT /behind'; echo 'get -w /behind'; changes /behind; echo quit; } |
    ask | grep -c NodeDataChanged)
echo "3.8.0: 5 changes, events with the persistent watch alone: $alone"
echo "3.8.0: 5 changes, events after a read with a one-time watch: $behind"
[ "$alone $behind" = "5 1" ]
