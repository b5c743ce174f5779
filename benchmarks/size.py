"""`python -m benchmarks.size [--znodes N] [--watches N] [--rounds N] [--vs apache]`: a million of each, beside Apache.

A znode has 100 bytes of data and a path of 15 to 17; a watch is on a path of its own, of 9. Rows, as medians:

- bytes for each znode and watch: what the server's resident memory grows by, divided by their number; for ours also
  what that of a process with the tree alone does, and the longest of the slices in which a snapshot of it is written
- longest wait, snapshots: of a client that sets one znode after another while snapshots are taken, and without them
- longest wait, watches leave: of a client that reads every 2 ms while a client with all the watches is gone, and before
- restart: from the start of the process until it serves what its snapshot has, and its memory then
"""

import argparse
import gc
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import zookeeper
from benchmarks.ensemble import Ensemble, running
from benchmarks.fairness import Waits, Wire, bystander, write
from benchmarks.load import Load, LoadGenerator

_SET_WATCHES, _AT_ONCE = 101, 50_000
# Makes a snapshot due so often that one is nearly always being written. Ours waits for a long log behind a large tree;
# Apache's log counts with the space that is reserved.
_OFTEN = {"ours": "snapSizeLimitInKb=4096\n", "apache": "snapCount=10000\n"}
_LOAD_SECONDS = 30
_SETTLES_SECONDS = 5
_DEADLINE_SECONDS = 300.0
MB = 1 << 20


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def tree_alone(count: int) -> tuple[float, float]:
    """Bytes for each znode of a tree without a server, and the longest slice of its snapshot, in ms of CPU."""
    from recipes.core.disk.snapshot import write_snapshot
    from recipes.core.jute import opcodes as op
    from recipes.core.jute.records import OPEN_ACL
    from recipes.core.tree.tree import DataTree

    gc.disable()
    tree = DataTree()
    before = _resident_bytes()
    for number in range(count):
        data = b"%0100d" % number
        zxid = (1 << 32) + number
        tree.apply((1, 1, zxid, 1_700_000_000_000 + number, op.CREATE, (b"/%014d" % number, data, OPEN_ACL, False, -1)))
    each = (_resident_bytes() - before) / count
    longest = 0.0
    slices = write_snapshot(tree)
    while True:
        begun = time.process_time()
        piece = next(slices, None)
        longest = max(longest, time.process_time() - begun)
        if piece is None:
            return each, longest * 1000


def watches_alone(count: int) -> tuple[float, float]:
    """Bytes for each watch of one watcher, and the longest of the slices in which they go, in ms of CPU."""
    from recipes.core.member.leaving import Leaving
    from recipes.core.tree.watches import WatchTable

    gc.disable()
    table, watcher = WatchTable(), object()
    before = _resident_bytes()
    for number in range(count):
        table.add_data(b"/%08d" % number, watcher)
    each = (_resident_bytes() - before) / count
    leaving = Leaving(table)
    leaving.add(watcher)
    longest = 0.0
    while leaving.waiting:
        begun = time.process_time()
        leaving.go_on()
        longest = max(longest, time.process_time() - begun)
    return each, longest * 1000


def in_a_process(work: Callable[[int], tuple[float, float]], count: int) -> tuple[float, float]:
    """Memory that others have used before would be counted as free."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (count,))


def _until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.01)


def _wait_settled(ensemble: Ensemble) -> float:
    """Resident memory after a while, in bytes."""
    time.sleep(_SETTLES_SECONDS)
    return ensemble.servers[0].resident_mb * MB


@contextmanager
def _one(kind: str, directory: Path) -> Iterator[Ensemble]:
    before = zookeeper.ZOO_CFG
    # Apache makes a system property of each key that it does not know.
    zookeeper.ZOO_CFG = before + "maxSessionTimeout=600000\njute.maxbuffer=4194304\n"
    try:
        with running(kind, directory) as ensemble:
            yield ensemble
    finally:
        zookeeper.ZOO_CFG = before


def _start_again(ensemble: Ensemble) -> float:
    """Stop the server and start it; return the seconds until it serves."""
    server = ensemble.servers[0]
    server.ask_to_stop()
    server.stop()
    begun = time.perf_counter()
    server.start()
    _until(lambda: ensemble.role(server), f"{ensemble.kind} does not serve again")
    return time.perf_counter() - begun


def _watch_all(port: int, count: int) -> Wire:
    wire = Wire(port, 600_000)
    for first in range(0, count, _AT_ONCE):
        some = range(first, min(count, first + _AT_ONCE))
        paths = b"".join(struct.pack(">i", 9) + b"/%08d" % number for number in some)
        wire.ask(_SET_WATCHES, struct.pack(">qii", 1, 0, len(some)) + paths + struct.pack(">i", 0), -8)
    return wire


def measure(kind: str, directory: Path, generator: LoadGenerator, znodes: int, watches: int) -> dict[str, float]:
    """All rows of one server, by their names."""
    found: dict[str, float] = {}
    load = Load("set", 1, 1)
    with _one(kind, directory) as ensemble:
        server = ensemble.servers[0]
        generator.first_write(ensemble)
        empty = _wait_settled(ensemble)
        generator.fill(ensemble, znodes)
        full = _wait_settled(ensemble)
        found["bytes for each znode"] = (full - empty) / znodes
        found["longest wait, no snapshots, ms"] = generator.run(ensemble, load, _LOAD_SECONDS)["max_us"] / 1000
        with (server.home / "zoo.cfg").open("a") as settings:
            settings.write(_OFTEN.get(kind, _OFTEN["ours"]))
        _start_again(ensemble)
        found["longest wait, snapshots, ms"] = generator.run(ensemble, load, _LOAD_SECONDS)["max_us"] / 1000
        time.sleep(_SETTLES_SECONDS)  # the last snapshot is written
        found["restart, s"] = _start_again(ensemble)
        found["restart, s of CPU"] = server.cpu_seconds
        found["resident after it, MiB"] = _wait_settled(ensemble) / MB
    with _one(kind, directory) as ensemble:
        port = ensemble.ports[0]
        generator.first_write(ensemble)
        empty = _wait_settled(ensemble)
        wire = _watch_all(port, watches)
        found["bytes for each watch"] = (_wait_settled(ensemble) - empty) / watches
        waits: list[Waits] = []
        with bystander(port, waits):
            time.sleep(_SETTLES_SECONDS)
        with bystander(port, waits):
            wire.sock.close()
            time.sleep(2 * _SETTLES_SECONDS)
        found["longest wait, watches stay, ms"], found["longest wait, watches leave, ms"] = (
            1000 * each.longest for each in waits
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.size", description=__doc__)
    parser.add_argument("--znodes", type=int, default=1_000_000)
    parser.add_argument("--watches", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--vs", action="append", default=[], metavar="KIND", help="apache, or tree:DIRECTORY")
    asked = parser.parse_args()
    each, slice_ms = in_a_process(tree_alone, asked.znodes)
    write(f"the tree alone: {each:.0f} bytes for each znode, longest slice of a snapshot {slice_ms:.1f} ms")
    each, slice_ms = in_a_process(watches_alone, asked.watches)
    write(f"watches alone: {each:.0f} bytes for each, longest slice as they leave {slice_ms:.1f} ms")
    below = Path("build/benchmarks")
    below.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=below) as made:
        directory = Path(made).resolve()
        generator = LoadGenerator(directory)
        kinds = ["ours", *asked.vs]
        rounds = [
            {kind: measure(kind, directory, generator, asked.znodes, asked.watches) for kind in kinds}
            for _ in range(asked.rounds)
        ]
    write("| row | " + " | ".join(kinds) + " |")
    write("|---|" + "---|" * len(kinds))
    for name in rounds[0]["ours"]:
        write(f"| {name} | " + " | ".join(f"{median(one[kind][name] for one in rounds):.1f}" for kind in kinds) + " |")


if __name__ == "__main__":
    main()
