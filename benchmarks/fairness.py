"""`python -m benchmarks.fairness [--rounds N] [--sources DIR]`: how long one client keeps the other ones waiting.

A bystander, in a process of its own, reads every 2 ms, in a session of 8 s. Each input is sent once a round. The table
has, as medians of the rounds, the bystander's longest wait in a time without the input and in the time with it, and
what the server's memory grew by, at its highest and 5 s later. --sources: of another commit, to compare with.
"""

import argparse
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from recipes.core.server.descriptors import raise_limit

_ACL = struct.pack(">ii", 1, 31) + b"\0\0\0\5world\0\0\0\6anyone"
_END = struct.pack(">i?i", -1, True, -1)
_GET, _SET, _CREATE, _CHECK, _MULTI, _CLOSE, _EXISTS, _COUNT, _SET_WATCHES = 4, 5, 1, 13, 14, -11, 3, 104, 101
_EPHEMERAL = 1


def _text(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


class Wire:
    """A session of raw frames."""

    def __init__(self, port: int, timeout_ms: int = 30_000, receive_bytes: int = 0) -> None:
        self.sock = socket.socket()
        if receive_bytes:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.sock.settimeout(120)
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall(_text(struct.pack(">iqiqi16s?", 0, 0, timeout_ms, 0, 16, bytes(16), False)))
        self.receive()

    def receive(self) -> bytes:
        size = struct.unpack(">i", self._exactly(4))[0]
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            piece = self.sock.recv(size - len(got))
            if not piece:
                raise EOFError("the server has closed the connection")
            got += piece
        return bytes(got)

    def send(self, kind: int, body: bytes, xid: int = 1) -> None:
        self.sock.sendall(_text(struct.pack(">ii", xid, kind) + body))

    def ask(self, kind: int, body: bytes, xid: int = 1) -> bytes:
        """Send a request, and return its reply; events are passed over."""
        self.send(kind, body, xid)
        return self.reply(xid)

    def reply(self, xid: int = 1) -> bytes:
        while True:
            reply = self.receive()
            if struct.unpack_from(">i", reply)[0] == xid:
                return reply


def _create(path: bytes, flags: int = 0, data: bytes = b"") -> bytes:
    return _text(path) + _text(data) + _ACL + struct.pack(">i", flags)


def _multi(kind: int, bodies: Iterator[bytes]) -> bytes:
    return b"".join(struct.pack(">i?i", kind, False, -1) + body for body in bodies) + _END


def _fill(wire: Wire, path: bytes, count: int, flags: int = 0) -> None:
    wire.ask(_CREATE, _create(path))
    for first in range(0, count, 1000):
        bodies = (_create(b"%s/%07d" % (path, at), flags) for at in range(first, min(count, first + 1000)))
        wire.ask(_MULTI, _multi(_CREATE, bodies))


# The inputs: each gets a port, does what is slow to prepare, yields, does its worst, and returns once that is over.

Input = Callable[[int], Iterator[None]]


def f2_count(port: int) -> Iterator[None]:
    wire = Wire(port)
    _fill(wire, b"/count", 100_000)
    yield
    for _ in range(190):
        wire.send(_COUNT, _text(b"/count"))
    for _ in range(190):
        wire.reply()


def f2_checks(port: int) -> Iterator[None]:
    wire = Wire(port)
    yield
    wire.ask(_MULTI, _multi(_CHECK, (_text(b"/") + struct.pack(">i", -1) for _ in range(58_000))))


def f2_creates(port: int) -> Iterator[None]:
    wire = Wire(port)
    wire.ask(_CREATE, _create(b"/c"))
    yield
    wire.ask(_MULTI, _multi(_CREATE, (_create(b"/c/%d" % at) for at in range(15_000))))


def f2_set_watches(port: int) -> Iterator[None]:
    wire = Wire(port)
    paths = b"".join(_text(b"/%06d" % at) for at in range(94_000))
    yield
    wire.ask(_SET_WATCHES, struct.pack(">qii", 1, 0, 94_000) + paths + struct.pack(">i", 0), -8)


def f3_unread(port: int) -> Iterator[None]:
    Wire(port).ask(_CREATE, _create(b"/large", data=bytes(1_000_000)))
    wires = [Wire(port, 4000, 4096) for _ in range(60)]
    yield
    for wire in wires:
        for _ in range(8):
            wire.send(_GET, _text(b"/large") + b"\0")
    time.sleep(12)  # the server hangs up on them after 10 s


def f9_watches(port: int) -> Iterator[None]:
    wire = Wire(port, 4000)
    for first in range(0, 1_000_000, 50_000):
        paths = b"".join(_text(b"/%07d" % at) for at in range(first, first + 50_000))
        wire.ask(_SET_WATCHES, struct.pack(">qii", 1, 0, 50_000) + paths + struct.pack(">i", 0), -8)
    yield
    wire.sock.close()
    time.sleep(10)  # the watches go in slices meanwhile


def f11_quota(port: int) -> Iterator[None]:
    wire = Wire(port)
    _fill(wire, b"/quota", 300_000)
    wire.ask(_CREATE, _create(b"/zookeeper/quota/quota"))
    wire.ask(_CREATE, _create(b"/zookeeper/quota/quota/zookeeper_limits", data=b"count=1,bytes=-1"))
    yield
    wire.ask(_CREATE, _create(b"/zookeeper/quota/quota/zookeeper_stats", data=b"count=0,bytes=0"))
    time.sleep(2)  # the count goes on behind the answer


def close_ephemerals(port: int) -> Iterator[None]:
    wire = Wire(port)
    _fill(wire, b"/ephemerals", 50_000, _EPHEMERAL)
    yield
    wire.ask(_CLOSE, b"")


def close_sessions(port: int) -> Iterator[None]:
    wires = [Wire(port, 600_000) for _ in range(10_000)]
    yield
    for wire in wires:
        wire.send(_CLOSE, b"")
    for wire in wires:
        wire.reply()
        wire.sock.close()


INPUTS: dict[str, Input] = {
    "F2 190 counts of 100,000 znodes": f2_count,
    "F2 a multi of 58,000 checks": f2_checks,
    "F2 a multi of 15,000 creates": f2_creates,
    "F2 setWatches of 94,000 paths": f2_set_watches,
    "F3 60 clients read nothing": f3_unread,
    "F9 1,000,000 watches leave": f9_watches,
    "F11 a quota on 300,000 znodes": f11_quota,
    "a session with 50,000 ephemerals closes": close_ephemerals,
    "10,000 sessions close at once": close_sessions,
}


class Waits(NamedTuple):
    """A bystander's, in seconds; -1 if its session has ended."""

    longest: float
    p99: float


def watch(port: int, ends: Event, found: Any, writes: bool) -> None:
    """The bystander: put its Waits. It says that it has begun by another put."""
    body = _text(b"/bystander") + (_text(b"x") + struct.pack(">i", -1) if writes else b"\0")
    waits = []
    try:
        wire = Wire(port, 8000)
        wire.ask(_CREATE, _create(b"/bystander"))
        found.put(None)
        while not ends.is_set():
            began = time.perf_counter()
            wire.ask(_SET if writes else _GET, body)
            waits.append(time.perf_counter() - began)
            time.sleep(0.002)
        waits.sort()
        found.put(Waits(waits[-1], waits[len(waits) * 99 // 100]))
    except (OSError, EOFError):
        found.put(Waits(-1.0, -1.0))


@contextmanager
def bystander(port: int, waits: list[Waits], *, writes: bool = False) -> Iterator[None]:
    """A client that reads, or writes, every 2 ms while the block runs; then its Waits are appended."""
    context = get_context("spawn")
    ends, found = context.Event(), context.Queue()
    process = context.Process(target=watch, args=(port, ends, found, writes))
    process.start()
    found.get()
    try:
        yield
    finally:
        ends.set()
        waits.append(found.get())
        process.join()


@contextmanager
def server(sources: Path) -> Iterator[tuple[int, int]]:
    """A server of these sources; its port and process id."""
    with tempfile.TemporaryDirectory() as home, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        settings = f"dataDir={home}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n"
        (Path(home) / "zoo.cfg").write_text(f"{settings}admin.enableServer=false\nmaxSessionTimeout=600000\n")
        environment = os.environ | {"PYTHONPATH": str(sources)}
        command = [sys.executable, "-P", "-m", "recipes", "serve", f"{home}/zoo.cfg"]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, cwd=home)
        try:
            while True:
                try:
                    Wire(port).sock.close()
                    break
                except (OSError, EOFError):
                    time.sleep(0.05)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait()


def _resident_mb(pid: int, peak: bool = False) -> float:
    key = "VmHWM:" if peak else "VmRSS:"
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def measure(name: str, sources: Path) -> tuple[float, float, float, float]:
    """Longest waits in ms without and with the input; memory in MB that it took, and that it still takes 5 s later."""
    with server(sources) as (port, pid):
        work = INPUTS[name](port)
        next(work)
        alone: list[Waits] = []
        with bystander(port, alone):
            time.sleep(2)
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak from here on
        before_mb, beside = _resident_mb(pid), list[Waits]()
        with bystander(port, beside):
            next(work, None)
            time.sleep(0.5)
        peak_mb = _resident_mb(pid, peak=True) - before_mb
        time.sleep(5)
        return alone[0].longest * 1000, beside[0].longest * 1000, peak_mb, _resident_mb(pid) - before_mb


def write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sources", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--only", action="append", metavar="NAME", help="inputs with NAME in theirs")
    arguments = parser.parse_args()
    raise_limit()
    write("| input | wait without it, ms | wait with it, ms | memory it takes, MB | 5 s later, MB |")
    write("|---|---|---|---|---|")
    for name in INPUTS:
        if arguments.only and not any(part in name for part in arguments.only):
            continue
        rounds = [measure(name, arguments.sources) for _ in range(arguments.rounds)]
        ended = any(beside < 0 for _, beside, _, _ in rounds)
        alone, beside, peak, later = (median(each) for each in zip(*rounds, strict=True))
        shown = "its session has ended" if ended else f"{beside:.0f}"
        write(f"| {name} | {alone:.0f} | {shown} | {peak:.0f} | {later:.0f} |")


if __name__ == "__main__":
    main()
