"""`recipes repair`: show what a damaged transaction log would lose, and cut it there."""

import sys
from pathlib import Path
from typing import Annotated

import cyclopts

from recipes.core.disk.directories import open_directories
from recipes.core.disk.repair import find_loss, truncate

Truncate = Annotated[bool, cyclopts.Parameter(name="--truncate", negative=())]


def repair(data_dir: Path, *, log_dir: Path | None = None, cut: Truncate = False) -> int:
    """Tell what is damaged in the data directory of a stopped server; exit 1 when something is.

    Args:
        data_dir: dataDir of the server's zoo.cfg.
        log_dir: its dataLogDir, when that is another directory.
        cut: cut the log at the damage; a copy of the whole file stays beside it, its name begins with damaged-.
    """
    if data_dir.name == "version-2" and not (data_dir / "version-2").is_dir():
        print(f"recipes: {data_dir}: give the dataDir, the directory above", file=sys.stderr)
        return 1
    directories = [path / "version-2" for path in (data_dir, log_dir) if path is not None]
    for directory in directories:
        if not directory.is_dir():
            print(f"recipes: {directory}: no such directory", file=sys.stderr)
            return 1
    with open_directories(data_dir, log_dir) as (snapshots, logs):
        loss = find_loss(snapshots, logs)
        if loss is None:
            print("no damage found")
            return 0
        print(f"{logs.path / loss.name}: {loss.reason} at offset {loss.offset}, after zxid 0x{loss.last_zxid:x}")
        print(_what_is_lost(loss.lost))
        for name in (*loss.logs, *loss.snapshots):
            print(f"{name} would be set aside, since it has changes from after the damage")
        if not cut:
            print("restore the file from a copy if there is one; --truncate cuts the log here and keeps a copy of it")
            return 1
        for name in truncate(snapshots, logs, loss):
            print(f"kept as {name}")
        print(f"the log now ends with zxid 0x{loss.last_zxid:x}")
        return 0


def _what_is_lost(zxids: tuple[int, ...]) -> str:
    if not zxids:
        return "no txn would be lost that can be read and is not in the snapshot"
    first, last = f"0x{zxids[0]:x}", f"0x{zxids[-1]:x}"
    txns, which = ("1 txn", f"zxid {first}") if len(zxids) == 1 else (f"{len(zxids)} txns", f"zxids {first} to {last}")
    return f"the damaged record would be lost, and {txns} after it, {which}"
