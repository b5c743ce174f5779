"""An ensemble of our servers in which everybody talks to everybody through a Network, with a copy of every log."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from recipes.core.disk.replace import REJOIN
from recipes.core.disk.txnlog import LogFile, file_zxid
from recipes.core.jute.txns import payload_zxid
from tests.chaos.proxy import Network
from tests.ensembles import EnsembleProcesses

CLIENTS = "clients"
_COUNTER = 0xFFFFFFFF


class CutOffEnsemble(EnsembleProcesses):
    """EnsembleProcesses whose members reach each other, and are reached by clients, only through relays.

    hosts: the relays of the client ports. Each zoo.cfg names its own ports where it speaks of itself and relays for
    the others.
    """

    def __init__(self, directory: Path, size: int, **settings: object) -> None:
        super().__init__(directory, *["ours"] * size, **settings)
        self.relays: list[tuple[object, object, int, int]] = []  # source, target, port, port of the target
        self.client_ports: dict[int, int] = {}
        for sid, server in self.servers.items():
            self.client_ports[sid] = self._relay(CLIENTS, sid, server.port)
            lines = []
            for line in server.config.read_text().splitlines():
                key, _, _ = line.partition("=")
                if key.startswith("server.") and key != f"server.{sid}":
                    other = int(key.removeprefix("server."))
                    quorum = self._relay(sid, other, self.quorum_ports[other])
                    election = self._relay(sid, other, self.election_ports[other])
                    line = f"{key}=127.0.0.1:{quorum}:{election}:participant"
                lines.append(f"{line}\n")
            server.config.write_text("".join(lines))
        self.logs = LogCopies(directory / "logs")

    def _relay(self, source: object, target: int, target_port: int) -> int:
        port = self.reserve_port()
        self.relays.append((source, target, port, target_port))
        return port

    async def connect(self, network: Network) -> None:
        """Open the relays."""
        for relay in self.relays:
            await network.relay(*relay)

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.client_ports.values())

    def version_dir(self, sid: int) -> Path:
        return self.servers[sid].data_dir / "version-2"

    def wipe(self, sid: int) -> None:
        """A new disk, with what tells the server that it has lost its history: as an operator is to do it."""
        super().wipe(sid)
        self.version_dir(sid).mkdir()
        (self.version_dir(sid) / REJOIN).touch()

    def save_logs(self) -> None:
        """Keep what the log files hold now and later, whatever becomes of their names."""
        for sid in self.servers:
            self.logs.take(self.version_dir(sid))

    def logged(self, sid: int) -> list[int]:
        """The zxids in a server's log, as far as they are on its disk."""
        paths = sorted(self.version_dir(sid).glob("log.*"), key=lambda path: int(path.suffix[1:], 16))
        return [zxid for path in paths for zxid, _ in _read(path)]

    def has_ended(self, sid: int) -> bool:
        """Whether a server that was started has ended by itself."""
        process = self.servers[sid].process
        return process is not None and process.poll() is not None

    def log_size(self, sid: int) -> int:
        """Bytes of the newest log file, what is filled ahead included."""
        return max(self.version_dir(sid).glob("log.*"), key=lambda path: int(path.suffix[1:], 16)).stat().st_size

    def limit_files(self, sid: int, size_bytes: int | None) -> None:
        """A server that runs can make no file longer than this: as on a full disk, writing ends with EFBIG."""
        soft = resource.RLIM_INFINITY if size_bytes is None else size_bytes
        resource.prlimit(self.servers[sid].pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))


class LogCopies:
    """Hard links to every log file that was ever seen, and what stands before the first entry of an epoch.

    A follower's old log goes when it is sent a snapshot, a wiped server's goes too: then nobody may have the whole
    history any more, but all of them together have had it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True)
        self._seen: set[int] = set()
        self._before: dict[int, int] = {}  # first zxid of an epoch -> the one before it

    def take(self, version_dir: Path) -> None:
        """Link what is new in a server's directory. It may change meanwhile."""
        names = sorted((zxid, path) for path in version_dir.glob("log.*") if (zxid := file_zxid(path.name, "log")))
        for (_, earlier), (zxid, path) in zip([(0, None), *names], names, strict=False):
            try:
                inode = path.stat().st_ino
                if inode in self._seen:
                    continue
                os.link(path, self._directory / f"{len(self._seen)}-{path.name}")
                if zxid & _COUNTER == 1 and earlier is not None:
                    last = _read(earlier)[-1:]
                    if last:
                        self._before[zxid] = last[0][0]
            except FileNotFoundError:
                continue
            self._seen.add(inode)

    def history(self, last_zxid: int) -> list[bytes]:
        """The payloads of everything committed up to `last_zxid`. Raises LookupError when a part is in no log."""
        payloads: dict[int, bytes] = {}
        for path in self._directory.iterdir():
            before = 0
            for zxid, payload in _read(path):
                assert payloads.setdefault(zxid, payload) == payload, f"Z2 two txns 0x{zxid:x}"
                if zxid & _COUNTER == 1 and before:
                    assert self._before.setdefault(zxid, before) == before, f"Z5 two histories before 0x{zxid:x}"
                before = zxid
        found: list[bytes] = []
        zxid = last_zxid
        while zxid:
            if zxid not in payloads:
                raise LookupError(f"txn 0x{zxid:x} is in no log")
            found.append(payloads[zxid])
            # The very first txn has nothing before it, and no other has its place.
            first = zxid & _COUNTER == 1
            zxid = self._before.get(zxid, 0) if first else zxid - 1
            if first and not zxid and min(payloads) != payload_zxid(found[-1]):
                raise LookupError(f"what stands before 0x{payload_zxid(found[-1]):x} is in no log")
        return found[::-1]


def _read(path: Path) -> list[tuple[int, bytes]]:
    return [(payload_zxid(payload), payload) for payload in LogFile(path.name, path.read_bytes())]
