#!/usr/bin/env bash
# etcd 3.4.23 (Debian 12): `etcdctl lock NAME PROGRAM` lets its program run on when its lease has ended, and says nothing.
#
# A first `etcdctl lock` runs a program of 8 seconds. Its lease is revoked, as it would end behind a partition: the key
# goes, and a second `etcdctl lock` of the same name runs its program at once. The first program goes on to its end, and
# its etcdctl exits with 0 and no word of the loss. `etcdctl elect` of the same release does notice: it ends with
# "session expired". One would expect the same here: the program ended, or at least an error.
#
# Seen:
#     etcdctl version: 3.4.23
#     first program in
#     lease revoked
#     second program in
#     second program out
#     first program still runs
#     exit code of the first etcdctl: 0
#     what it said: (nothing)
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q etcd-server=3.4.23-4+b4 etcd-client=3.4.23-4+b4 >/dev/null
for package in *.deb; do dpkg -x "$package" root; done
free() { python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])'; }
clients=http://127.0.0.1:$(free) peers=http://127.0.0.1:$(free)
root/usr/bin/etcd --data-dir data --listen-client-urls "$clients" --advertise-client-urls "$clients" \
    --listen-peer-urls "$peers" --initial-advertise-peer-urls "$peers" --initial-cluster "default=$peers" >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=$clients
ask() { root/usr/bin/etcdctl "$@"; }
timeout 60 bash -c "until root/usr/bin/etcdctl endpoint health >/dev/null 2>&1; do sleep 0.1; done"

cat >first <<'SH'
#!/bin/sh
echo "first program in" >>seen
sleep 8
echo "first program still runs" >>seen
SH
cat >second <<'SH'
#!/bin/sh
echo "second program in" >>seen
sleep 1
echo "second program out" >>seen
SH
chmod +x first second
touch seen
ask version | sed -n 1p
ask lock name ./first >said 2>&1 &
first=$!
timeout 60 bash -c 'until grep -q "first program in" seen; do sleep 0.1; done'
ask lease revoke "$(ask lease list | tail -1)" >/dev/null
echo "lease revoked" >>seen
ask lock name ./second
code=0
wait $first || code=$?
{
    echo "exit code of the first etcdctl: $code"
    echo "what it said: $([ -s said ] && cat said || echo '(nothing)')"
} >>seen
cat seen
diff seen - <<'SEEN'
first program in
lease revoked
second program in
second program out
first program still runs
exit code of the first etcdctl: 0
what it said: (nothing)
SEEN
