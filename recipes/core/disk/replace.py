"""Taking back a part of the log, and replacing everything by a leader's snapshot: changes of many files at once.

Either is decided by one rename or one new file, `truncate.<zxid>` or `install.<zxid>`; what follows from it is carried
out then or, after a crash, at the next start, and can be repeated. So there is the old state or the new one, and never
an old log behind a new snapshot. None of the names begins with `snapshot.` or `log.`, by which those are found.
"""

from recipes.core.disk.disk import Disk
from recipes.core.disk.snapshot import shown_zxid, snapshot_name
from recipes.core.disk.txnlog import LogFile, cut_file, file_zxid, log_files
from recipes.core.jute.txns import payload_zxid

# This server has lost its history and must have a leader's snapshot before it counts for anything.
REJOIN = "rejoin"
_INSTALL = "install"
_TRUNCATE = "truncate"
_RECEIVED = "received-snapshot"
_SUPERSEDED = "superseded-"  # what a leader's snapshot replaced: kept until the next one, for whoever runs the server


def snapshot_files(disk: Disk) -> list[tuple[int, str]]:
    """The snapshots, each with its zxid, in order."""
    return sorted((zxid, name) for name in disk.names() if (zxid := file_zxid(name, "snapshot")) is not None)


def is_clean(snapshot_zxid: int, data: bytes, zxid: int) -> bool:
    """Whether it is certain that a snapshot shows nothing behind `zxid`.

    A fuzzy one may show more than its name says; its digest section tells up to where. A leader's snapshot, in which
    that is not told, shows committed txns only, which nobody asks to take back (ZOOKEEPER-1549).
    """
    shown = shown_zxid(data)
    return snapshot_zxid <= zxid and shown is not None and shown <= zxid


def install(snapshots: Disk, logs: Disk, zxid: int, data: bytes) -> None:
    """Put a snapshot file in place of everything there is."""
    remove_superseded(snapshots)
    remove_superseded(logs)
    file = snapshots.create(_RECEIVED)
    file.write(0, data)
    file.sync()
    file.close()
    snapshots.rename(_RECEIVED, f"{_INSTALL}.{zxid:x}")
    snapshots.sync()
    finish(snapshots, logs)


def truncate(snapshots: Disk, logs: Disk, zxid: int) -> None:
    """Remove everything behind `zxid`, which must be in the log or be the zxid of a clean snapshot."""
    snapshots.create(f"{_TRUNCATE}.{zxid:x}").close()
    snapshots.sync()
    finish(snapshots, logs)


def give_up(snapshots: Disk) -> None:
    """Make it known for good that this server's history is of no use."""
    snapshots.create(REJOIN).close()
    snapshots.sync()


def finish(snapshots: Disk, logs: Disk) -> None:
    """Carry out what has been decided, if there is anything."""
    for name in snapshots.names():
        if (zxid := file_zxid(name, _INSTALL)) is not None:
            _install(snapshots, logs, zxid, name)
        elif (zxid := file_zxid(name, _TRUNCATE)) is not None:
            _truncate(snapshots, logs, zxid)
            snapshots.remove(name)
            snapshots.sync()
        elif name == _RECEIVED:
            snapshots.remove(name)


def remove_superseded(disk: Disk) -> list[str]:
    """Remove what an earlier snapshot of a leader's replaced; return the names."""
    names = [name for name in disk.names() if name.startswith(_SUPERSEDED)]
    for name in names:
        disk.remove(name)
    return names


def _install(snapshots: Disk, logs: Disk, zxid: int, decided: str) -> None:
    for _, name in log_files(logs):
        logs.rename(name, _SUPERSEDED + name)
    logs.sync()
    for _, name in snapshot_files(snapshots):
        snapshots.rename(name, _SUPERSEDED + name)
    snapshots.sync()
    if REJOIN in snapshots.names():
        snapshots.remove(REJOIN)
    snapshots.rename(decided, snapshot_name(zxid))
    snapshots.sync()


def _truncate(snapshots: Disk, logs: Disk, zxid: int) -> None:
    for named, name in reversed(snapshot_files(snapshots)):
        if not is_clean(named, snapshots.read(name), zxid):
            snapshots.remove(name)
    snapshots.sync()
    files = log_files(logs)
    while files and files[-1][0] > zxid:
        logs.remove(files.pop()[1])
    logs.sync()
    if files:
        name = files[-1][1]
        file, end = LogFile(name, logs.read(name)), 0
        for payload in file:
            if payload_zxid(payload) > zxid:
                break
            end = file.end
        cut_file(logs, name, end)
