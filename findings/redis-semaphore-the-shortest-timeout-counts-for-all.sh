#!/usr/bin/env bash
# redis-semaphore 5.8.0 (ioredis 6.0.0, Node 20) beside Redis 7.0.15 (Debian 12): whoever asks for a permit of a
# Semaphore first removes the permits of all who have not refreshed theirs within its own lockTimeout, whatever theirs
# is. So a program with a short lockTimeout passes the limit. The holder refreshes in good time by its own lockTimeout,
# and until then it counts as a holder. A Mutex of the same library keeps to the lockTimeout of its holder.
#
# What is stored of a permit is when it was refreshed, and not for how long it counts.
#
# Seen (the limit is 1; the holder's lockTimeout is 60 s; the other's is 1 s, and it tries for 5 s):
#     Mutex: holder acquires: true; other acquires: false; holder.isAcquired: true
#     Semaphore: holder acquires: true; other acquires: true; holder.isAcquired: true
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
apt-get download -q redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10 liblzf1 libjemalloc2 >/dev/null
for package in *.deb; do dpkg -x "$package" debian; done
npm install --silent --no-audit --no-fund redis-semaphore@5.8.0 ioredis@6.0.0 >/dev/null
port=$(python3 -c 'import socket; free = socket.create_server(("127.0.0.1", 0)); print(free.getsockname()[1])')
LD_LIBRARY_PATH=$place/debian/usr/lib/$(uname -m)-linux-gnu debian/usr/bin/redis-server \
    --port "$port" --bind 127.0.0.1 --save '' --dir "$place" >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$place"' EXIT
timeout 60 bash -c "until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.1; done"

cat >permits.js <<'NODE'
const { Redis } = require("ioredis");
const { Mutex, Semaphore } = require("redis-semaphore");

const redis = new Redis(Number(process.argv[2]));

async function story(name, make) {
  const holder = make({ lockTimeout: 60000 });
  const other = make({ lockTimeout: 1000, acquireTimeout: 5000 });
  const first = await holder.tryAcquire();
  const second = await other.tryAcquire();
  console.log(`${name}: holder acquires: ${first}; other acquires: ${second}; holder.isAcquired: ${holder.isAcquired}`);
  await other.release();
  await holder.release();
}

(async () => {
  await story("Mutex", (options) => new Mutex(redis, "report", options));
  await story("Semaphore", (options) => new Semaphore(redis, "report", 1, options));
  redis.disconnect();
})();
NODE
timeout 60 node permits.js "$port" | tee seen
diff seen - <<'SEEN'
Mutex: holder acquires: true; other acquires: false; holder.isAcquired: true
Semaphore: holder acquires: true; other acquires: true; holder.isAcquired: true
SEEN
