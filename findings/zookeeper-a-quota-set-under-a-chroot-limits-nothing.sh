#!/usr/bin/env bash
# Apache ZooKeeper 3.8.0 (Debian 12), its command line: `setquota` limits nothing if the command line was started with a
# chroot (`-server host:port/app`). It reports no error, and `listquota` shows the quota. But the subtree may grow as it
# likes, and is not counted.
#
# A quota is a znode below /zookeeper/quota, and the chroot is put before that path, too: the quota is written to
# /app/zookeeper/quota, which is a znode like any other for the server.
#
# Seen (a hard limit of 3 znodes for /team, itself included; five children are made; the server enforces quotas):
#     no chroot: children: [1, 2]
#         listquota: countHardLimit=3, count=3
#     /app: children: [1, 2, 3, 4, 5]
#         listquota: countHardLimit=3, count=0
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
java -Dzookeeper.enforceQuota=true -cp "debian/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

ask() { # CHROOT: the command line of the same version; takes commands from the standard input
    java -cp "debian/usr/share/java/*" org.apache.zookeeper.ZooKeeperMain -waitforconnection -server "127.0.0.1:$port$1" 2>/dev/null
}
story() { # CHROOT
    ask "$1" >said <<'COMMANDS'
create /team
setquota -N 3 /team
create /team/1
create /team/2
create /team/3
create /team/4
create /team/5
listquota /team
ls /team
quit
COMMANDS
    echo "${1:-no chroot}: children: $(grep '^\[' said | tail -1)"
    echo "    listquota: $(grep -o 'countHardLimit=.*' said), $(grep 'Output stat' said | grep -o 'count=[0-9]*')"
}
{
    echo 'create /app' | ask '' >/dev/null
    story ''
    story /app
} | tee seen
diff seen - <<'SEEN'
no chroot: children: [1, 2]
    listquota: countHardLimit=3, count=3
/app: children: [1, 2, 3, 4, 5]
    listquota: countHardLimit=3, count=0
SEEN
