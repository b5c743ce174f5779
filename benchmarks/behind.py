"""`python -m benchmarks.behind [--rounds N]`: how long writes wait behind one client's large transaction.

A bystander, in a process of its own, writes every 2 ms to a server of ours, and to one of Apache's in the same run;
the rounds alternate between the two. The table has the medians of its longest wait in a round.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.ensemble import running
from benchmarks.fairness import INPUTS, Waits, bystander, write

LARGE = ("F2 a multi of 58,000 checks", "F2 a multi of 15,000 creates", "a session with 50,000 ephemerals closes")
KINDS = ("ours", "apache")


def longest_ms(kind: str, name: str, directory: Path) -> float:
    """The longest wait of a write beside this input. Raises RuntimeError if the writer's session ends."""
    with running(kind, directory) as ensemble:
        ensemble.leader()
        port = ensemble.ports[0]
        work = INPUTS[name](port)
        next(work)
        waits: list[Waits] = []
        with bystander(port, waits, writes=True):
            time.sleep(1)
            next(work, None)
            time.sleep(0.5)
    if waits[0].longest < 0:
        raise RuntimeError(f"{kind}, {name}: the bystander's session has ended")
    return waits[0].longest * 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.behind", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", metavar="NAME", help="inputs with NAME in theirs")
    arguments = parser.parse_args()
    write("| writes behind | ours, ms | Apache, ms |")
    write("|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        for name in LARGE:
            if arguments.only and not any(part in name for part in arguments.only):
                continue
            found: dict[str, list[float]] = {kind: [] for kind in KINDS}
            for number in range(arguments.rounds):
                for kind in KINDS[:: -1 if number % 2 else 1]:
                    found[kind].append(longest_ms(kind, name, Path(directory)))
            write(f"| {name} | {median(found['ours']):.0f} | {median(found['apache']):.0f} |")


if __name__ == "__main__":
    main()
