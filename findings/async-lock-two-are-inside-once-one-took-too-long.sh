#!/usr/bin/env bash
# async-lock 1.5.0 (Node 20): once a function has taken longer than maxExecutionTime, the lock admits two at a time, as long
# as somebody waits for it, and one more for each further function that takes too long. None of those who then meet has
# taken too long itself.
#
# When the time is over, whoever asked gets an error, and the lock goes to the next one in the line, while the function
# itself goes on. But when that function ends, the lock is passed on once more, although somebody else has it by then.
#
# Seen (ten functions of 0.3 s wait behind a first one; maxExecutionTime is 1 s):
#     the first one takes 0.5 s: inside at once behind it: 1
#     the first one takes 1.5 s: inside at once behind it: 2
#     the first two take 1.5 s: inside at once behind them: 3
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
npm install --silent --no-audit --no-fund async-lock@1.5.0 >/dev/null

cat >locks.js <<'NODE'
const AsyncLock = require("async-lock");

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

async function story(title, first) {
  const lock = new AsyncLock({ maxExecutionTime: 1000 });
  let inside = 0;
  let most = 0;
  const short = async () => {
    inside += 1;
    most = Math.max(most, inside);
    await sleep(0.3);
    inside -= 1;
  };
  const long = first.map((seconds) => lock.acquire("report", () => sleep(seconds)).catch(() => {}));
  await Promise.all([...long, ...Array.from({ length: 10 }, () => lock.acquire("report", short))]);
  console.log(`${title}: ${most}`);
}

(async () => {
  await story("the first one takes 0.5 s: inside at once behind it", [0.5]);
  await story("the first one takes 1.5 s: inside at once behind it", [1.5]);
  await story("the first two take 1.5 s: inside at once behind them", [1.5, 1.5]);
})();
NODE
timeout 120 node locks.js | tee seen
diff seen - <<'SEEN'
the first one takes 0.5 s: inside at once behind it: 1
the first one takes 1.5 s: inside at once behind it: 2
the first two take 1.5 s: inside at once behind them: 3
SEEN
