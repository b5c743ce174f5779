#!/usr/bin/env bash
# Apache ZooKeeper 3.8.0 (Debian 12), its Java client and command line: getEphemerals, which lists the ephemeral znodes
# of the session, ignores the chroot of the client. It answers paths with the chroot before them, which this client
# cannot use: to it they name other znodes. And it compares the prefix that it is given with such paths, so that a path
# which the client has just made is not found.
#
# Other calls put the chroot before the paths that they send, and take it off those that they get.
#
# Seen (commands and answers, connected with `-server host:port/app`):
#     create -e /here: Created /here
#     getEphemerals: [/app/here]
#     get /app/here: Node does not exist: /app/here
#     getEphemerals /here: []
#     getEphemerals /app/here: [/app/here]
#     ls /: [here]
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q libzookeeper-java=3.8.0-11+deb12u2 libnetty-java libslf4j-java libdropwizard-metrics-java \
    libcommons-cli-java libcommons-io-java libjackson2-core-java libjackson2-databind-java libjackson2-annotations-java \
    libsnappy-java libjetty9-java libservlet-api-java libnetty-tcnative-java >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' \
    "$place" "$port" >zoo.cfg
java -cp "debian/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

ask() { # CHROOT: the command line of the same version; takes commands from the standard input
    java -cp "debian/usr/share/java/slf4j-nop.jar:debian/usr/share/java/*" org.apache.zookeeper.ZooKeeperMain \
        -waitforconnection -server "127.0.0.1:$port$1" 2>&1
}
echo 'create /app' | ask '' >/dev/null
cat >commands <<'COMMANDS'
create -e /here
getEphemerals
get /app/here
getEphemerals /here
getEphemerals /app/here
ls /
COMMANDS
ask /app <commands | grep -E '^\[|^Created|^Node does not exist' >answers
paste -d ':' commands answers | sed 's/:/: /' | tee seen
diff seen - <<'SEEN'
create -e /here: Created /here
getEphemerals: [/app/here]
get /app/here: Node does not exist: /app/here
getEphemerals /here: []
getEphemerals /app/here: [/app/here]
ls /: [here]
SEEN
