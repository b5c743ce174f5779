"""`recipes convert`: make the data directory of a stopped member one that the other protocol can run."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import cyclopts

from recipes.core.disk.cells import write_cell
from recipes.core.disk.directories import open_directories
from recipes.core.disk.recovery import TEMPORARY, Trust, recover_member, save_snapshot
from recipes.core.disk.snapshot import write_snapshot
from recipes.core.errors import BadArguments, DiskError
from recipes.core.protocols import NAMES, ProtocolName, find_protocol
from recipes.core.raft.terms import ABSTAINS, NOBODY, VOTE, Vote, stored_vote, vote_cell
from recipes.core.replicas.terms import stored_term, term_cell
from recipes.core.replication import SECRET_CELL, Cell, Recovered
from recipes.core.tree.tree import DataTree
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, epoch_cell, stored_epoch
from recipes.core.zxid import epoch_of

_MARKS: Final[Mapping[str, str]] = {"zab": CURRENT_EPOCH, "raft": VOTE}  # the cell that only its directories have
_LOG_DIRECTORY = "log-directory"  # disk/directories.py writes it: where the log is, if it is elsewhere
_CELLS = (ACCEPTED_EPOCH, CURRENT_EPOCH, VOTE, SECRET_CELL)
# A crash leaves the temporary files, of this command too; nobody has been told what is in them.
_KNOWN = frozenset({*_CELLS, *(f"{name}.tmp" for name in _CELLS), TEMPORARY, ".lock", _LOG_DIRECTORY})
_KNOWN_PREFIXES = ("snapshot.", "log.", "superseded-")  # the last: replaced by a leader's snapshot, and read by nobody

To = Annotated[ProtocolName, cyclopts.Parameter(name="--to")]


def convert(data_dir: Path, *, to: To, zxid: str | None = None, log_dir: Path | None = None) -> int:
    """Let a stopped member of an ensemble run another protocol: recipes convert DATA_DIR --to raft --zxid 0x500000001.

    All members must be converted, and their logs must end at the same zxid: then every txn is on all disks, and no
    protocol has anything left to decide. Without --zxid the command says where the log of this member ends, and changes
    nothing.

    Exit codes: 0 converted; 1 not converted, and why; 2 for a wrong argument.

    Args:
        data_dir: dataDir of the server's zoo.cfg.
        to: zab or raft.
        zxid: where the log of each member ends.
        log_dir: its dataLogDir, when that is another directory.
    """
    wanted = None if zxid is None else _zxid(zxid)
    if data_dir.name == "version-2" and not (data_dir / "version-2").is_dir():
        raise BadArguments("", f"{data_dir}: give the dataDir, the directory above")
    for directory in [path / "version-2" for path in (data_dir, log_dir) if path is not None]:
        if not directory.is_dir():
            raise BadArguments("", f"{directory}: no such directory")
    if log_dir is None:
        _refuse_log_elsewhere(data_dir / "version-2")
    with open_directories(data_dir, log_dir, create=False) as (snapshots, logs):
        source = _source(snapshots.names(), to, data_dir)
        _refuse_unknown({*snapshots.names(), *logs.names()}, data_dir)
        tree = DataTree()
        # Where the logs of all members end at one zxid, all of a log counts, whatever the protocol.
        protocol = find_protocol(source)._replace(logged_counts=True)
        found = recover_member(snapshots, logs, tree, protocol, Trust(empty_database=False))
        cells = _cells(source, found)
        said = f"0x{found.last_zxid:x}"
        if wanted is None:
            print(f"the log ends at {said}; if that of every member does: recipes convert ... --to {to} --zxid {said}")
            return 1
        if wanted != found.last_zxid:
            print(
                f"recipes: the log ends at {said}, and not at 0x{wanted:x}: start all members with {source} until they "
                "have the same zxid, and stop the leader last",
                file=sys.stderr,
            )
            return 1
        save_snapshot(snapshots, found.last_zxid, write_snapshot(tree))
        # A crash between two of these leaves a directory of the one protocol, of the other, or of both: the command
        # can be repeated then.
        for cell in cells:
            write_cell(snapshots, cell.name, cell.value)
        snapshots.remove(_MARKS[source])
        snapshots.sync()
    print(f"it is a member that runs {to} now: set protocol={to}, on all members")
    return 0


def _refuse_log_elsewhere(directory: Path) -> None:
    """Raises BadArguments if the server has its log elsewhere, also on a volume that is not mounted now."""
    note = directory / _LOG_DIRECTORY
    if note.is_file() and (logs := Path(note.read_text().strip())).resolve() != directory.resolve():
        raise BadArguments("", f"{directory}: its log is in {logs}: give --log-dir {logs.parent}")


def _zxid(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise BadArguments("", f"--zxid {text}: expected a zxid, such as 0x500000001") from None


def _source(names: list[str], to: str, directory: Path) -> str:
    """The protocol that a directory belongs to. Raises DiskError if it is not to be converted."""
    found = [name for name in NAMES if _MARKS[name] in names]
    if not found:
        raise DiskError(f"data directory {directory} belongs to no member of an ensemble")
    others = [name for name in found if name != to]  # of both, if a crash has interrupted this command
    if not others:
        raise DiskError(f"data directory {directory} belongs to a server that runs {to} already")
    return others[0]


def _refuse_unknown(names: set[str], directory: Path) -> None:
    unknown = sorted(name for name in names if name not in _KNOWN and not name.startswith(_KNOWN_PREFIXES))
    if unknown:
        raise DiskError(
            f"data directory {directory} has files that nobody knows here: {', '.join(unknown[:5])}; a server may have "
            "to finish something: start it once with its protocol, or move them away"
        )


def _cells(source: str, found: Recovered) -> list[Cell]:
    """The cells of the other protocol. Raises DiskError if this member must not count as one with all of its data."""
    if found.unsure:
        raise DiskError(f"this server does not vote until a leader has sent it a snapshot: {found.unsure}")
    if source == "zab":
        epochs = (stored_epoch(found.cells, ACCEPTED_EPOCH) or 0, stored_epoch(found.cells, CURRENT_EPOCH) or 0)
        # A new term: in that of the accepted epoch this server may have voted, if it has run raft before and its vote
        # is gone. And the leader of that epoch may have made zxids, which no leader of raft must make again.
        term = max(epochs) + 1
        return [term_cell(term), vote_cell(Vote(term, NOBODY))]
    if stored_vote(found.cells).candidate == ABSTAINS:
        raise DiskError("this server does not vote until a leader has sent it a snapshot: it may have forgotten votes")
    term = stored_term(found.cells)
    return [epoch_cell(ACCEPTED_EPOCH, term), epoch_cell(CURRENT_EPOCH, epoch_of(found.last_zxid))]
