"""The system calls of the real server: no reply to a write leaves before the sync that covers it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
from pathlib import Path

CALL = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<args>.*)")
RESUMED = re.compile(r"^(?P<pid>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
SENDS = {"write", "writev", "sendto", "sendmsg"}
ROUNDS = 50


def completed(trace: str) -> list[tuple[str, str, str]]:
    """(moment, name, text) in order: a call cut in two by another thread has a `start` and an `end` of its own."""
    found: list[tuple[str, str, str]] = []
    begun: dict[tuple[str, str], str] = {}
    for line in trace.splitlines():
        if resumed := RESUMED.match(line):
            text = begun.pop((resumed["pid"], resumed["name"]), "") + resumed["rest"]
            found.append(("end", resumed["name"], text))
        elif call := CALL.match(line):
            found.append(("start", call["name"], call["args"]))
            if "<unfinished" in line:
                begun[(call["pid"], call["name"])] = call["args"]
            else:
                found.append(("end", call["name"], call["args"]))
    return found


def test_p28_no_reply_before_its_sync(start_server, wire, need_tool, tmp_path):
    need_tool("strace", shutil.which("strace") is not None)
    trace = tmp_path / "trace"
    server = start_server("ours", start=False)
    calls = "trace=pwrite64,pwritev,pwritev2,write,writev,sendto,sendmsg,fdatasync,fsync"
    server.wrapper = ["strace", "-f", "-xx", "-s", "4096", "-o", str(trace), "-e", calls]
    server.start()
    client = wire(server.port)
    assert client.create("/traced") == 0
    for turn in range(ROUNDS):
        body = client.text("/traced") + client.text(f"marker-{turn:04d}") + struct.pack(">i", -1)
        assert client.call(5, body)[0] == 0
    client.close()
    # strace forwards nothing to its tracee: end the server, its child, by the pid /proc gives.
    child = int(Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()[0])
    os.kill(child, signal.SIGTERM)
    server.process.wait(30)

    written: set[int] = set()
    durable: set[int] = set()
    replied = 0
    for moment, name, text in completed(trace.read_text()):
        raw = bytes.fromhex("".join(re.findall(r"\\x([0-9a-f]{2})", text)))
        markers = {int(number) for number in re.findall(rb"marker-(\d{4})", raw)}
        if moment == "end" and name.startswith("pwrite") and markers:
            assert "= -1" not in text
            (durable if "RWF_DSYNC" in text else written).update(markers)
        elif moment == "end" and name in {"fdatasync", "fsync"}:
            durable |= written
            written.clear()
        elif moment == "start" and name in SENDS:
            # A setData reply is 4 + 16 + 68 bytes: length, header, Stat. Its xid tells which write it answers.
            at = raw.find(struct.pack(">i", 84))
            if at >= 0:
                xid = struct.unpack_from(">i", raw, at + 4)[0]
                assert xid - 2 in durable, f"the reply to write {xid - 2} left before its sync"
                replied += 1
    assert replied == ROUNDS
