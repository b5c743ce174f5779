"""Files captured from Apache ZooKeeper 3.8.0, and disks to put files on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from recipes.core.disk.disk import Disk, RealDisk
from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import Record, encode_txn
from recipes.core.replication import Entry
from recipes.core.sim.disk import SimDisk
from tests.core.disk.directory import Directory, build

GOLDEN = Path(__file__).parent / "golden"
OPEN = ((31, b"world", b"anyone"),)


def golden(name: str) -> bytes:
    lines = (GOLDEN / f"{name}.hex").read_text().splitlines()
    return bytes.fromhex("".join(line.partition("#")[0] for line in lines))


@pytest.fixture(scope="session")
def apache_log() -> bytes:
    return golden("log.100000001")


@pytest.fixture(scope="session")
def apache_snapshot() -> bytes:
    return golden("snapshot.100000006")


@pytest.fixture(params=["real", "simulated"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "simulated":
        yield SimDisk(Random(1))
        return
    real = RealDisk(tmp_path / "version-2")
    yield real
    real.close()


@pytest.fixture(scope="session")
def entry() -> Callable[..., Entry]:
    """An entry without a digest; a create of /n<zxid> when nothing else is asked for."""

    def make(zxid: int, kind: int = op.CREATE, record: Record | None = None, data: bytes = b"data") -> Entry:
        if record is None:
            record = (b"/n%d" % zxid, data, OPEN, False, zxid & 0xFFFFFF)
        return Entry(zxid, encode_txn(0x100, zxid & 0xFFFFFF, zxid, 1_700_000_000_000 + zxid, kind, record))

    return make


@pytest.fixture(scope="session")
def put() -> Callable[[Disk, str, bytes], None]:
    """Put a file on a disk, durably."""

    def write(disk: Disk, name: str, data: bytes) -> None:
        file = disk.create(name)
        file.write(0, data)
        file.sync()
        file.close()
        disk.sync()

    return write


@pytest.fixture
def one(entry: Callable[..., Entry]) -> Directory:
    """Snapshots at 0 and 1:4, a log up to 1:9, epochs 5 and 1."""
    directory = Directory(entry)
    build(directory)
    return directory
