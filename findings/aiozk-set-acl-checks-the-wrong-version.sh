#!/usr/bin/env bash
# aiozk 0.32.0 beside Apache ZooKeeper 3.8.0 (Debian 12): set_acl() of a znode that the client has read is refused with
# BadVersion as soon as the number of changes of its data differs from that of its ACL, although nobody has touched the
# ACL. With force=True, which checks no version, it works.
#
# It is documented to send the version of the ACL that was read last, and sends the version of the data.
#
# Seen (one client; nobody else is connected):
#     /new with version 0, aversion 0: set_acl: done
#     /new with version 0, aversion 1: set_acl: BadVersion
#     /used with version 1, aversion 0: set_acl: BadVersion
#     /used with version 1, aversion 0: set_acl{'force': True}: done
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

cat >acls.py <<'PYTHON'
import asyncio
import sys

from aiozk import ZKClient
from aiozk.exc import BadVersion


async def main():
    client = ZKClient(sys.argv[1])
    await client.start()

    async def try_set_acl(path, **options):
        acl = await client.get_acl(path)
        _, stat = await client.get(path)
        try:
            await client.set_acl(path, acl, **options)
            what = "done"
        except BadVersion as error:
            what = type(error).__name__
        print(f"{path} with version {stat.version}, aversion {stat.acl_version}: set_acl{options or ''}: {what}")

    await client.create("/new", "0")
    await try_set_acl("/new")
    await try_set_acl("/new")
    await client.create("/used", "0")
    await client.set_data("/used", "1", force=True)
    await try_set_acl("/used")
    await try_set_acl("/used", force=True)
    await client.close()


asyncio.run(main())
PYTHON
env/bin/python acls.py "127.0.0.1:$port" | tee seen
diff seen - <<'SEEN'
/new with version 0, aversion 0: set_acl: done
/new with version 0, aversion 1: set_acl: BadVersion
/used with version 1, aversion 0: set_acl: BadVersion
/used with version 1, aversion 0: set_acl{'force': True}: done
SEEN
