#!/usr/bin/env bash
# etcd 3.4.23 and its etcdctl (Debian 12): whoever holds the lock `jobs/report` also keeps everybody from the lock `jobs`,
# and not the other way round. So does an election. Locks whose names are paths look independent, and are not.
#
# A lock's keys begin with its name and a slash, and its line is all keys that begin so: those of a lock whose name goes on
# behind such a slash are in it.
#
# Seen:
#     somebody holds jobs/report; jobs: not to be had in 3 s; jobs/other: had
#     somebody holds jobs; jobs/report: had
#     somebody leads jobs/report; elect jobs: not elected in 3 s
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
timeout 60 bash -c "until root/usr/bin/etcdctl endpoint health >/dev/null 2>&1; do sleep 0.1; done"

holder=
# Starts what holds something for long, and waits until it has it. $1: a command of etcdctl, $2: a name.
hold() {
    root/usr/bin/etcdctl "$@" >held 2>&1 &
    holder=$!
    timeout 30 bash -c 'until grep -q . held; do sleep 0.1; done'
}
let_go() {
    kill -INT "$holder"
    wait "$holder" || true
}
trap 'kill $holder 2>/dev/null || true; kill $server; wait || true; rm -rf "$place"' EXIT
to_be_had() { if timeout -s INT 3 root/usr/bin/etcdctl lock "$1" true >/dev/null 2>&1; then echo had; else echo "not to be had in 3 s"; fi; }

{
    hold lock jobs/report
    echo "somebody holds jobs/report; jobs: $(to_be_had jobs); jobs/other: $(to_be_had jobs/other)"
    let_go
    hold lock jobs
    echo "somebody holds jobs; jobs/report: $(to_be_had jobs/report)"
    let_go
    hold elect jobs/report somebody
    timeout -s INT 3 root/usr/bin/etcdctl elect jobs other >elected 2>/dev/null || true
    echo "somebody leads jobs/report; elect jobs: $(if grep -q other elected; then echo elected; else echo "not elected in 3 s"; fi)"
    let_go
} >seen
cat seen
diff seen - <<'SEEN'
somebody holds jobs/report; jobs: not to be had in 3 s; jobs/other: had
somebody holds jobs; jobs/report: had
somebody leads jobs/report; elect jobs: not elected in 3 s
SEEN
