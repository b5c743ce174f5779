#!/usr/bin/env bash
# PySyncObj 0.3.17 on Linux (strace 6.1): with a journal file, which is there so that state survives a restart, no server
# ever asks the kernel to put it on the disk. Three servers acknowledge 200 increments, and hold elections, without
# one fsync, fdatasync or msync between them. Raft asks for terms, votes and entries on stable storage before a server
# answers (section 5 of its paper, figure 2): what was acknowledged here survives kill -9, but no power failure of the
# machines' common supply, and a machine that lost its vote may vote twice in a term.
#
# The journal is a memory map that is written without msync; the term and the vote are written to a file that is renamed.
#
# Seen:
#     acknowledged increments: 200
#     journals hold them: 3 of 3
#     calls of fsync, fdatasync, msync and sync_file_range by the three servers: 0
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv env
env/bin/pip install -q pysyncobj==0.3.17

cat >server.py <<'PYTHON'
import sys
import time

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.batteries import ReplCounter

number, *ports = sys.argv[1:]
own, *others = [f"127.0.0.1:{port}" for port in ports[int(number) :] + ports[: int(number)]]
counter = ReplCounter()
conf = SyncObjConf(journalFile=f"journal-{number}", dynamicMembershipChange=False)
node = SyncObj(own, others, conf, consumers=[counter])
deadline = time.monotonic() + 120
while not node.isReady() and time.monotonic() < deadline:
    time.sleep(0.05)
if number == "0":
    for _ in range(200):
        counter.inc(sync=True, timeout=30)
    print("acknowledged increments:", counter.get(), flush=True)
while counter.get() < 200 and time.monotonic() < deadline:
    time.sleep(0.05)
# The others go on until the first says that all is over.
sys.stdin.read()
node.destroy()
PYTHON
ports=$(python3 -c 'import socket; free = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]; print(*[each.getsockname()[1] for each in free])')
mkfifo over
servers=()
for number in 0 1 2; do
    strace -f -qq -e trace=fsync,fdatasync,msync,sync_file_range,sync,syncfs -o "calls-$number" \
        env/bin/python server.py $number $ports <over >"out-$number" 2>"errors-$number" &
    servers+=($!)
done
exec 3>over
timeout 150 bash -c 'until grep -q acknowledged out-0; do sleep 0.2; done'
# A follower writes an entry before it answers, but the last one may be on its way to the third.
timeout 60 bash -c 'for number in 0 1 2; do
    until [ "$(stat -c %s journal-$number)" -gt 8000 ]; do sleep 0.2; done
done'
{
    cat out-0
    echo "journals hold them: $(find . -name 'journal-?' -size +8000c | wc -l) of 3"
    # Without a call grep fails, and says 0.
    echo "calls of fsync, fdatasync, msync and sync_file_range by the three servers: $(cat calls-* | grep -c sync)"
} | tee seen
exec 3>&-
wait "${servers[@]}" || true
diff seen - <<'SEEN'
acknowledged increments: 200
journals hold them: 3 of 3
calls of fsync, fdatasync, msync and sync_file_range by the three servers: 0
SEEN
