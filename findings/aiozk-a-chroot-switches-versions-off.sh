#!/usr/bin/env bash
# aiozk 0.32.0 beside Apache ZooKeeper 3.8.0 (Debian 12): set_data() and delete() check the version of the znode that
# the client has read last, as documented, and raise BadVersion if somebody has changed it since. With a chroot they
# check nothing: they overwrite, or delete, what another client has written, without an error.
#
# Versions are kept by the path as the program names it, and looked up by the path with the chroot before it.
#
# Seen (read by aiozk, changed by another client, and then written or deleted by aiozk):
#     no chroot: set_data: BadVersion
#     no chroot: delete: BadVersion
#     chroot /app: set_data: done, without an error
#     chroot /app: delete: done, without an error
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

cat >versions.py <<'PYTHON'
import asyncio
import sys

from aiozk import ZKClient
from aiozk.exc import BadVersion


async def outcome(call):
    try:
        await call
    except BadVersion as error:
        return type(error).__name__
    return "done, without an error"


async def main():
    other = ZKClient(sys.argv[1])
    await other.start()
    await other.create("/app")
    for chroot in ("", "/app"):
        client = ZKClient(sys.argv[1], chroot=chroot or None)
        await client.start()
        await client.create("/config", "old")
        where = f"chroot {chroot}" if chroot else "no chroot"
        for name, arguments in (("set_data", ["mine"]), ("delete", [])):
            await client.get("/config")
            await other.set_data(chroot + "/config", "theirs", force=True)
            print(f"{where}: {name}:", await outcome(getattr(client, name)("/config", *arguments)))
        await client.close()
    await other.close()


asyncio.run(main())
PYTHON
env/bin/python versions.py "127.0.0.1:$port" | tee seen
diff seen - <<'SEEN'
no chroot: set_data: BadVersion
no chroot: delete: BadVersion
chroot /app: set_data: done, without an error
chroot /app: delete: done, without an error
SEEN
