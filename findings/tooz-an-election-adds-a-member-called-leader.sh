#!/usr/bin/env bash
# tooz 9.1.0 (kazoo 2.11.0) beside Apache ZooKeeper 3.8.0 (Debian 12): once a group has held an election, "leader" counts
# as a member of it, for ever. A watch on the group reports that it joins, run_watchers() of each member that shares out
# work by a Partitioner raises, since a member called leader has no capabilities to read, and the group cannot be
# deleted once all members have left.
#
# With this driver a member is a znode below the group's, and the group's election is a lock whose parent has the name
# `leader` and is below the group's as well. Listing members lists it too.
#
# Seen:
#     members before the election: one two
#     joined, as the watch on the group says: leader
#     members after the election: leader one two
#     run_watchers() of a member that has a Partitioner: SerializationError
#     everybody has left, the group is deleted: GroupNotEmpty
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
env/bin/pip install -q tooz==9.1.0 kazoo==2.11.0
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' \
    "$place" "$port" >zoo.cfg
java -cp "root/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >story.py <<'PYTHON'
import sys

import tooz
from tooz import coordination


def start(name):
    coordinator = coordination.get_coordinator(sys.argv[1], name)
    coordinator.start(start_heart=True)
    return coordinator


def members():
    return " ".join(sorted(name.decode() for name in one.get_members(b"workers").get()))


def outcome(call):
    try:
        call()
    except tooz.ToozError as error:
        return type(error).__name__
    return "done"


one, two = start(b"one"), start(b"two")
one.create_group(b"workers").get()
one.join_group(b"workers").get()
two.join_partitioned_group(b"workers")
joined = []
one.watch_join_group(b"workers", lambda event: joined.append(event.member_id.decode()))
one.run_watchers(), two.run_watchers()
joined.clear()
print("members before the election:", members())

one.watch_elected_as_leader(b"workers", lambda event: None)
one.run_watchers()
one.run_watchers()
print("joined, as the watch on the group says:", *joined)
print("members after the election:", members())
print("run_watchers() of a member that has a Partitioner:", outcome(two.run_watchers))

one.stand_down_group_leader(b"workers")
one.leave_group(b"workers").get(), two.leave_group(b"workers").get()
print("everybody has left, the group is deleted:", outcome(lambda: one.delete_group(b"workers").get()))
one.stop(), two.stop()
PYTHON
env/bin/python story.py "zookeeper://127.0.0.1:$port" | tee seen
diff seen - <<'SEEN'
members before the election: one two
joined, as the watch on the group says: leader
members after the election: leader one two
run_watchers() of a member that has a Partitioner: SerializationError
everybody has left, the group is deleted: GroupNotEmpty
SEEN
