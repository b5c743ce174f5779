"""One server under test, as a process of its own."""

import os
import signal
import subprocess
from pathlib import Path

STOP_SECONDS = 20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Server:
    """Server number `sid` of an ensemble, keeping all it writes in `home`.

    kind: "ours" or "zab", "raft", "tree:DIRECTORY", "apache" or "etcd".
    """

    def __init__(self, kind: str, sid: int, home: Path, ports: tuple[int, int, int]) -> None:
        self.kind = kind
        self.sid = sid
        self.home = home
        self.port, self.peer_port, self.election_port = ports
        self.command: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self.command, stdout=output, stderr=output)

    def kill(self) -> None:
        """As `kill -9`; returns when the process is gone."""
        self._running.send_signal(signal.SIGKILL)
        self._running.wait()

    def ask_to_stop(self) -> None:
        self._running.terminate()

    def stop(self) -> None:
        """Wait for the end that was asked for."""
        try:
            self._running.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def check_alive(self) -> None:
        """Raises RuntimeError with what the server said last, when it has ended by itself."""
        if (status := self._running.poll()) is not None:
            raise RuntimeError(f"{self.kind} ended during the run with status {status}:\n{self.last_words()}")

    def last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    @property
    def resident_mb(self) -> float:
        """Resident memory now, in MiB (VmRSS)."""
        for line in Path(f"/proc/{self._running.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"{self.kind}: process {self._running.pid} has no VmRSS, it has ended")

    @property
    def cpu_seconds(self) -> float:
        """Processor time used so far, user and system."""
        fields = Path(f"/proc/{self._running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.kind} server {self.sid} was never started")
        return self._process

    @property
    def _log(self) -> Path:
        return self.home / "server.log"
