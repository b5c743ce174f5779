"""`python -m benchmarks --vs apache [--ensemble] [--quick]`: side by side, rounds alternating, a table of ratios."""

import argparse
import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks import etcd, growth, replicated, standalone
from benchmarks.comparison import Comparison, Effort, note
from benchmarks.report import Point, table
from benchmarks.zookeeper import JVM_FLAGS, TREE

FULL = Effort(rounds=5, seconds=3.0, warm_seconds=30.0, idle_seconds=60.0, kills=10)
QUICK = Effort(rounds=2, seconds=1.0, warm_seconds=3.0, idle_seconds=8.0, kills=2)
PEERS = ("apache", "etcd", "zab", "raft", "self")
NOTES = """\
Each row: median of the rounds, ± half their range. Connections are spread over all servers unless the row says where.
Ours runs on {loop}, {build}. JVM flags: {flags}
etcd: its defaults, by gRPC from the same load generator, serializable gets; fail-over through its JSON gateway."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--vs",
        action="append",
        metavar="PEER",
        help="apache (default); etcd; zab or raft: ours by that protocol; tree:DIRECTORY: ours from another clone; "
        "self: Apache against itself, the noise. May be repeated",
    )
    parser.add_argument(
        "--protocol", choices=["zab", "raft"], default="zab", help="of our servers, where there are three"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--ensemble", action="store_true", help="three servers a side instead of one")
    what.add_argument("--growth", action="store_true", help="cost with 1, 3, 5 servers and with 1k, 100k, 1M znodes")
    parser.add_argument("--quick", action="store_true", help="two short rounds, hardly warmed: a look, not a result")
    parser.add_argument("--rounds", type=int, help="instead of 5 (2 with --quick)")
    parser.add_argument("--only", action="append", metavar="NAME", help="rows with NAME in theirs, or a whole part")
    parser.add_argument("--pause", action="store_true", help="also the worst pause with 500,000 znodes (standalone)")
    parser.add_argument(
        "--directory", type=Path, default=Path("build/benchmarks"), help="data, on the disk to be measured"
    )
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    effort = QUICK if asked.quick else FULL
    if asked.rounds:
        effort = effort._replace(rounds=asked.rounds)
    directory = asked.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)

    suite = replicated if asked.ensemble else growth if asked.growth else standalone
    peers = asked.vs or ["apache"]
    for peer in peers:
        tree = peer.removeprefix(TREE)
        if peer not in PEERS and (tree == peer or not Path(tree, "recipes").is_dir()):
            parser.error(f"--vs {peer}: expected {', '.join(PEERS)}, or {TREE} and the directory of a clone")
    comparison = Comparison(_kinds(peers, asked.protocol), directory, effort)
    _say(f"{effort.rounds} alternating rounds of {effort.seconds:g} s, each side warmed for {effort.warm_seconds:g} s")
    points: list[Point] = []
    for part, measure in suite.PARTS.items():
        comparison.choose(part, asked.only)
        if part == "pause" and not asked.pause and "pause" not in (asked.only or []):
            continue
        note(part)
        try:
            points += measure(comparison)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            comparison.give_up(part, error)
    if points:
        _say(table(points))
        loop = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
        _say(NOTES.format(loop=loop, build=_build(), flags=" ".join(JVM_FLAGS)))
    elif not comparison.failed:
        parser.error(f"no row is named so; the parts are {', '.join(suite.PARTS)}")
    return 1 if comparison.failed else 0


def _kinds(asked: list[str], protocol: str) -> list[str]:
    """Our side first, then the peers."""
    if "etcd" in asked and not etcd.installed():
        _say("etcd is not installed (Debian: apt-get install etcd-server), so it is left out.")
        asked = [peer for peer in asked if peer != "etcd"]
    ours = "apache" if "self" in asked else "raft" if protocol == "raft" else "ours"
    return [ours, *dict.fromkeys("apache" if peer == "self" else peer for peer in asked)]


def _build() -> str:
    """What our servers were: asked of an interpreter started as theirs are."""
    asked = [sys.executable, "-P", "-c", "import recipes; print(recipes.is_compiled())"]
    compiled = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    return "compiled" if compiled == "True" else "plain Python"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
