"""Truncating the log, and replacing everything by a leader's snapshot: atomic changes of many files.

One new file `truncate.<zxid>`, or one rename to `install.<zxid>`, decides the change. The steps that follow are carried
out at once or, after a crash, at the next start; repeating them does no harm. So a crash leaves the old state or the
new one, and never an old log behind a new snapshot. None of these names begins with `snapshot.` or `log.`, the prefixes
by which snapshots and logs are found.
"""

from recipes.core.disk.disk import Disk
from recipes.core.disk.snapshot import shown_zxid, snapshot_name
from recipes.core.disk.snapshot_files import read_snapshot_file, snapshot_files
from recipes.core.disk.txnlog import LogFile, cut_file, file_zxid, log_files
from recipes.core.errors import DiskError
from recipes.core.jute.txns import payload_zxid

# A file of this name: the server has lost its history, and needs a leader's snapshot before it may vote or lead.
REJOIN = "rejoin"
_INSTALL = "install"
_TRUNCATE = "truncate"
_RECEIVED = "received-snapshot"
_SUPERSEDED = "superseded-"  # files that a leader's snapshot replaced: kept for the operator until the next one


def is_clean(snapshot_zxid: int, data: bytes, zxid: int) -> bool:
    """Whether it is certain that a snapshot shows nothing behind `zxid`.

    A fuzzy snapshot may show txns behind the zxid in its name; its digest section tells the last one. A snapshot that
    came from a leader tells none, but shows only committed txns, which are never taken back (ZOOKEEPER-1549).
    """
    shown = shown_zxid(data)
    return snapshot_zxid <= zxid and shown is not None and shown <= zxid


def install(snapshots: Disk, logs: Disk, zxid: int, data: bytes) -> None:
    """Replace all snapshots and logs by this snapshot file."""
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
    """Mark this server's history as unusable, durably."""
    snapshots.create(REJOIN).close()
    snapshots.sync()


def finish(snapshots: Disk, logs: Disk) -> None:
    """Carry out a change that has been decided, if there is one."""
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
    """Remove the files that an earlier leader's snapshot replaced; return their names."""
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
        if not _shows_nothing_behind(snapshots, named, name, zxid):
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


def _shows_nothing_behind(snapshots: Disk, named: int, name: str, zxid: int) -> bool:
    try:
        return is_clean(named, read_snapshot_file(snapshots, name), zxid)
    except DiskError:
        return False
