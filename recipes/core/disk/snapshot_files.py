"""Snapshot files: their names, and the bytes of a snapshot, also where Apache compressed the file.

Source: Util.getZxidFromName; SnapStream.java; for snappy, the stream format of org.xerial.snappy.
"""

import re
from zlib import error as ZlibError

from recipes.core.disk.disk import Disk
from recipes.core.errors import DiskError

_NAME = re.compile(r"snapshot\.([0-9a-fA-F]{1,16})(?:\..*)?")
_GZIP = ".gz"
_SNAPPY = ".snappy"
_SNAPPY_MAGIC = b"\x82SNAPPY\0"
_SNAPPY_HEADER_BYTES = len(_SNAPPY_MAGIC) + 8  # two versions behind it


def snapshot_zxid(name: str) -> int | None:
    """The zxid in the name of a snapshot, compressed or not; None for other files."""
    match = _NAME.fullmatch(name)
    return int(match[1], 16) if match else None


def snapshot_files(disk: Disk) -> list[tuple[int, str]]:
    """The snapshots, each with its zxid, in order."""
    return sorted((zxid, name) for name in disk.names() if (zxid := snapshot_zxid(name)) is not None)


def read_snapshot_file(disk: Disk, name: str) -> bytes:
    """The snapshot in a file. Raises DiskError where the file cannot be decompressed."""
    data, kind = disk.read(name), name.lower()
    if kind.endswith(_GZIP):
        return _from_gzip(name, data)
    if kind.endswith(_SNAPPY):
        return _from_snappy(name, data)
    return data


def check_library(disk: Disk) -> None:
    """Raise DiskError if the newest snapshot cannot be read for want of a library: it is not to be passed over."""
    found = snapshot_files(disk)
    if found and found[-1][1].lower().endswith(_SNAPPY):
        try:
            import cramjam  # noqa: F401
        except ImportError:
            raise DiskError(
                f"{found[-1][1]}: it is read with cramjam, which is missing: pip install 'zab-recipes[snappy]'"
            ) from None


def _from_gzip(name: str, data: bytes) -> bytes:
    import gzip  # only here: few directories have such a file

    try:
        return gzip.decompress(data)
    except (EOFError, ZlibError, gzip.BadGzipFile) as error:
        raise DiskError(f"{name}: not a whole gzip file ({error})") from error


def _from_snappy(name: str, data: bytes) -> bytes:
    try:
        import cramjam
    except ImportError:
        raise DiskError(f"{name}: it is read with cramjam, which is not installed") from None
    if not data.startswith(_SNAPPY_MAGIC):
        raise DiskError(f"{name}: not a file of Java's snappy")
    parts, at = [], 0
    while at < len(data):
        if data.startswith(_SNAPPY_MAGIC, at):  # also between two streams that were joined
            at += _SNAPPY_HEADER_BYTES
            continue
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise DiskError(f"{name}: cut short")
        try:
            parts.append(bytes(cramjam.snappy.decompress_raw(data[at + 4 : end])))
        except cramjam.DecompressionError as error:
            raise DiskError(f"{name}: {error}") from error
        at = end
    return b"".join(parts)
