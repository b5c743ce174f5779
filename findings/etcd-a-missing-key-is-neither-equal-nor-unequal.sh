#!/usr/bin/env bash
# etcd 3.4.23 and its etcdctl (Debian 12): in a transaction a key that is not there has no value that is equal to X, and
# none that is not equal to X: both conditions are false. So "unless somebody has set this to done" never does its work
# for a key that nobody has set. Less and greater are false, too, while conditions on the version of a missing key take
# it for one of version 0.
#
# Whoever means "is not X" must ask for version 0 in a transaction of its own, since all conditions of one must hold.
# etcd keeps it so, and its documentation does not say it (etcd-io/etcd#19678).
#
# Seen (each line is a transaction's condition, and whether it held):
#     value("set") = "done": true
#     value("set") != "done": false
#     value("missing") = "done": false
#     value("missing") != "done": false
#     value("missing") < "done": false
#     value("missing") > "done": false
#     version("missing") = "0": true
#     version("missing") != "1": true
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q etcd-server=3.4.23-4+b4 etcd-client=3.4.23-4+b4 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
free() { python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])'; }
clients=http://127.0.0.1:$(free) peers=http://127.0.0.1:$(free)
debian/usr/bin/etcd --data-dir data --listen-client-urls "$clients" --advertise-client-urls "$clients" \
    --listen-peer-urls "$peers" --initial-advertise-peer-urls "$peers" --initial-cluster "default=$peers" >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=$clients
timeout 60 bash -c "until debian/usr/bin/etcdctl endpoint health >/dev/null 2>&1; do sleep 0.1; done"

holds() { # CONDITION
    if printf '%s\n\n\n\n' "$1" | debian/usr/bin/etcdctl txn | grep -q SUCCESS; then echo true; else echo false; fi
}
debian/usr/bin/etcdctl put set done >/dev/null
for condition in 'value("set") = "done"' 'value("set") != "done"' \
    'value("missing") = "done"' 'value("missing") != "done"' 'value("missing") < "done"' 'value("missing") > "done"' \
    'version("missing") = "0"' 'version("missing") != "1"'; do
    echo "$condition: $(holds "$condition")"
done | tee seen
diff seen - <<'SEEN'
value("set") = "done": true
value("set") != "done": false
value("missing") = "done": false
value("missing") != "done": false
value("missing") < "done": false
value("missing") > "done": false
version("missing") = "0": true
version("missing") != "1": true
SEEN
