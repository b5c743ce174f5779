#!/usr/bin/env bash
# etcd3 1.1.2 of npm (Node 20) beside etcd 3.4.23 (Debian 12): a campaign that lost its lease while it waited, and has said
# so by its event `error`, says later that it is elected, as soon as the leader of that time resigns. Its key is long gone,
# and another candidate is elected by the same event: both lead. The example of the documentation ends its work at an
# error and begins a new campaign; the old one still has the handler that begins the work.
#
# The campaign waits for the key before its own to go, and does not look whether its own is there by then.
#
# Seen (each line an event; the lease of b is revoked, as it would end behind a partition, while a leads):
#     a: elected; the leader by etcd: a
#     b: error (EtcdLeaseInvalidError)
#     a resigns
#     b: elected; the leader by etcd: c
#     c: elected; the leader by etcd: c
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q etcd-server=3.4.23-4+b4 etcd-client=3.4.23-4+b4 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
npm install --silent --no-audit --no-fund etcd3@1.1.2 >/dev/null
free() { python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])'; }
clients=http://127.0.0.1:$(free) peers=http://127.0.0.1:$(free)
debian/usr/bin/etcd --data-dir data --listen-client-urls "$clients" --advertise-client-urls "$clients" \
    --listen-peer-urls "$peers" --initial-advertise-peer-urls "$peers" --initial-cluster "default=$peers" >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=$clients
timeout 60 bash -c "until debian/usr/bin/etcdctl endpoint health >/dev/null 2>&1; do sleep 0.1; done"

cat >election.js <<'NODE'
const { execFileSync } = require("child_process");
const { Etcd3 } = require("etcd3");

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
const lines = [];

function stand(name) {
  const election = new Etcd3({ hosts: process.argv[2] }).election("report", 3);
  const campaign = election.campaign(name);
  campaign.on("elected", async () => lines.push(`${name}: elected; the leader by etcd: ${await election.leader()}`));
  campaign.on("error", (error) => lines.push(`${name}: error (${error.constructor.name})`));
  return campaign;
}

(async () => {
  const a = stand("a");
  await sleep(2);
  const b = stand("b");
  await sleep(2);
  const key = await b.getCampaignKey(); // its end is the id of the lease
  const lease = BigInt(key.split("/").pop()).toString(16);
  execFileSync("debian/usr/bin/etcdctl", ["lease", "revoke", lease]);
  await sleep(4);
  stand("c");
  await sleep(2);
  lines.push("a resigns");
  await a.resign();
  await sleep(2);
  const last = lines.splice(-2).sort(); // two at the same time
  [...lines, ...last].forEach((line) => console.log(line));
  process.exit();
})();
NODE
timeout 120 node election.js "$clients" | tee seen
diff seen - <<'SEEN'
a: elected; the leader by etcd: a
b: error (EtcdLeaseInvalidError)
a resigns
b: elected; the leader by etcd: c
c: elected; the leader by etcd: c
SEEN
