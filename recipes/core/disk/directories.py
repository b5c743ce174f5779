"""The directories of one server: dataDir for its snapshots and epochs, dataLogDir for its transaction log."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from recipes.core.disk.disk import RealDisk
from recipes.core.disk.snapshot_files import snapshot_zxid
from recipes.core.disk.txnlog import file_zxid
from recipes.core.errors import DiskError

_NOTE = "log-directory"  # a file beside the snapshots: the path of the log directory, if the log is elsewhere


@contextmanager
def open_directories(
    data_dir: Path, log_dir: Path | None, *, create: bool = True
) -> Iterator[tuple[RealDisk, RealDisk]]:
    """Lock the directories of the snapshots and of the log until the block ends; without `log_dir` they are one.

    create: make those that are missing; else they raise DiskError.

    Raises DiskError when another server uses one of them. Also raises it, before anything is created or written, when
    log or snapshot files lie in a directory that this server does not read them from, for example after dataLogDir was
    added, changed or left out. Otherwise the txns of that log would be lost silently.
    Source: FileTxnSnapLog.checkLogDir, checkSnapDir (ZOOKEEPER-2967).
    """
    beside = data_dir / "version-2"
    apart = beside if log_dir is None else log_dir / "version-2"
    is_one = beside.resolve() == apart.resolve()
    for directory in (beside, apart):
        if not create and not directory.is_dir():
            raise DiskError(f"data directory {directory} is missing, and datadir.autocreate=false")
    if not is_one:
        _refuse(beside, "log", "the transaction log is", apart)
        _refuse(apart, "snapshot", "the snapshots are", beside)
    note = beside / _NOTE
    last = Path(note.read_text().strip()) if note.exists() else apart
    if last.resolve() != apart.resolve():
        _refuse(last, "log", "the transaction log is", apart, f", or have dataLogDir say {last.parent}")
    with ExitStack() as stack:
        snapshots = RealDisk(beside)
        stack.callback(snapshots.close)
        logs = snapshots
        if not is_one:
            logs = RealDisk(apart)
            stack.callback(logs.close)
            if last != apart.absolute() or not note.exists():
                note.write_text(f"{apart.absolute()}\n")
        else:
            note.unlink(missing_ok=True)
        yield snapshots, logs


def take_initialize(data_dir: Path, log_dir: Path | None) -> bool:
    """Whether there is a file `initialize`, by which an operator lets an empty database begin once; it is removed."""
    found = False
    for directory in (data_dir, log_dir or data_dir):
        try:
            (directory / "initialize").unlink()
        except (FileNotFoundError, NotADirectoryError):
            continue
        found = True
    return found


def _refuse(directory: Path, kind: str, what_is: str, elsewhere: Path, otherwise: str = "") -> None:
    """Raise DiskError if files of this kind lie in a directory from which the server does not read them."""
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):  # nothing lies there
        return
    except OSError as error:
        raise DiskError(f"data directory {directory}: {error.strerror}") from error
    found = sorted(
        name for name in names if (snapshot_zxid(name) if kind == "snapshot" else file_zxid(name, kind)) is not None
    )
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise DiskError(
            f"{found[0]}{more} in {directory} would not be read, since {what_is} in {elsewhere}: "
            f"move the {kind}.* files to {elsewhere}{otherwise}"
        )
