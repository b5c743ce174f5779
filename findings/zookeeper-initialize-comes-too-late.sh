#!/usr/bin/env bash
# Apache ZooKeeper 3.8.0 (Debian 12): a member that was started once without data under db.autocreate=false never
# starts again once the operator allows it to begin empty.
#
# With db.autocreate=false an empty member of an ensemble waits for a leader, until the operator puts a file
# `initialize` beside version-2 and starts it again (administrator's guide, "db.autocreate"). But the first start has
# stored both epochs as -1, and the second one takes the database for initialised, at zxid 0 of epoch 0, which is
# later than epoch -1: the server exits. One would expect the two documented steps to work in either order; they do
# where the file is there before the first start.
#
# Seen:
#     3.8.0, first start without data: acceptedEpoch -1, currentEpoch -1
#     3.8.0, second start, with initialize: exit code 1, "The current epoch, ffffffffffffffff, is older than the last zxid, 0"
#     3.8.0, an empty member with initialize from the start: runs, currentEpoch 0
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
ports=($(python3 -c '
import socket
free = [socket.create_server(("127.0.0.1", 0)) for _ in range(7)]
print(*[each.getsockname()[1] for each in free])'))
prepare() { # NAME: a member of three, of which the others are not there
    mkdir "$1"
    echo 1 >"$1/myid"
    printf 'dataDir=%s/%s\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\ninitLimit=10\nsyncLimit=5\n' \
        "$place" "$1" "${ports[0]}" >"$1.cfg"
    for sid in 1 2 3; do echo "server.$sid=127.0.0.1:${ports[2 * sid - 1]}:${ports[2 * sid]}"; done >>"$1.cfg"
}
start() { # NAME
    java -Dzookeeper.db.autocreate=false -Dorg.slf4j.simpleLogger.showDateTime=false -cp "root/usr/share/java/slf4j-simple.jar:root/usr/share/java/*" \
        org.apache.zookeeper.server.quorum.QuorumPeerMain "$1.cfg" >"$1.log" 2>&1 &
    server=$!
    trap 'kill $server 2>/dev/null || true; wait $server || true; rm -rf "$place"' EXIT
}
epoch() { cat "$1/version-2/$2" 2>/dev/null || true; }
has_stored() { timeout 60 bash -c "until [ -s $1/version-2/currentEpoch ]; do sleep 0.1; done"; }

prepare late
start late
has_stored late
sleep 2
first="acceptedEpoch $(epoch late acceptedEpoch), currentEpoch $(epoch late currentEpoch)"
kill $server
wait $server || true
touch late/initialize
start late
code=0
wait $server || code=$?
why=$(grep -o 'The current epoch, [0-9a-f]*, is older than the last zxid, [0-9]*' late.log | head -1 || true)

prepare early
touch early/initialize
start early
has_stored early
sleep 2
kill -0 $server
early="currentEpoch $(epoch early currentEpoch)"

echo "3.8.0, first start without data: $first"
echo "3.8.0, second start, with initialize: exit code $code, \"$why\""
echo "3.8.0, an empty member with initialize from the start: runs, $early"
[ "$first; $code; $why; $early" = "acceptedEpoch -1, currentEpoch -1; 1; The current epoch, ffffffffffffffff, is older than the last zxid, 0; currentEpoch 0" ]
