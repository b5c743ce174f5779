#!/usr/bin/env bash
# zake 0.2.2 beside kazoo 2.11.0 and Apache ZooKeeper 3.8.0 (Debian 12): a transaction of zake, the stand-in for kazoo's
# client in tests, that fails undoes the znodes that it has made and removed, and not the data that it has set: set_data
# before the operation that fails stays, while its result says RolledBackError. A test with it sees a half-made
# transaction that no server can show, or passes because of it.
#
# It goes back to a copy of its table of znodes, which shares the znodes themselves.
#
# Seen (a transaction creates /new, sets the data of /config, and checks for a version that is not there):
#     kazoo: RolledBackError RolledBackError BadVersionError
#     kazoo: /new is there: False; /config has b'old' in version 0
#     zake: RolledBackError RolledBackError BadVersionError
#     zake: /new is there: False; /config has b'new' in version 1
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
env/bin/pip install -q zake==0.2.2 kazoo==2.11.0
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
printf 'dataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' \
    "$place" "$port" >zoo.cfg
java -cp "debian/usr/share/java/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >transactions.py <<'PYTHON'
import sys

from kazoo.client import KazooClient
from zake.fake_client import FakeClient

for name, client in (("kazoo", KazooClient(sys.argv[1])), ("zake", FakeClient())):
    client.start()
    client.create("/config", b"old")
    transaction = client.transaction()
    transaction.create("/new", b"")
    transaction.set_data("/config", b"new")
    transaction.check("/config", 99)
    print(f"{name}:", *(type(result).__name__ for result in transaction.commit()))
    data, stat = client.get("/config")
    print(f"{name}: /new is there: {bool(client.exists('/new'))}; /config has {data} in version {stat.version}")
    client.stop()
PYTHON
env/bin/python transactions.py "127.0.0.1:$port" | tee seen
diff seen - <<'SEEN'
kazoo: RolledBackError RolledBackError BadVersionError
kazoo: /new is there: False; /config has b'old' in version 0
zake: RolledBackError RolledBackError BadVersionError
zake: /new is there: False; /config has b'new' in version 1
SEEN
