#!/usr/bin/env bash
# aiozk 0.32.0 beside Apache ZooKeeper 3.8.0 (Debian 12): a transaction that makes sequential znodes does not say which.
# The set `created` of its result has the path that was asked for, without the number, and has it once however many
# znodes were made. create() outside a transaction answers the real path, as the client of Java and kazoo do in both
# cases.
#
# The server's answer has the paths; the result is made of the requests. So who makes an entry and something else at
# once, a place in a line for one, cannot know its own entry.
#
# Seen:
#     create: /jobs/job-0000000000
#     transaction of two creates: /jobs/job-
#     there are: job-0000000000 job-0000000001 job-0000000002
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
python3 -m venv env
env/bin/pip install -q aiozk==0.32.0
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' \
    "$place" "$port" >zoo.cfg
java -cp "debian/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >created.py <<'PYTHON'
import asyncio
import sys

from aiozk import ZKClient


async def main():
    client = ZKClient(sys.argv[1])
    await client.start()
    await client.create("/jobs")
    print("create:", await client.create("/jobs/job-", sequential=True))
    transaction = client.begin_transaction()
    transaction.create("/jobs/job-", sequential=True)
    transaction.create("/jobs/job-", sequential=True)
    result = await transaction.commit()
    print("transaction of two creates:", *result.created)
    print("there are:", *sorted(await client.get_children("/jobs")))
    await client.close()


asyncio.run(main())
PYTHON
env/bin/python created.py "127.0.0.1:$port" | tee seen
diff seen - <<'SEEN'
create: /jobs/job-0000000000
transaction of two creates: /jobs/job-
there are: job-0000000000 job-0000000001 job-0000000002
SEEN
