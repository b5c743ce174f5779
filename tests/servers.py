"""Servers of ours and of Apache's: each a process on a free port, with a directory of its own."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ports import free_port

POLL_SECONDS = 5.0  # Apache never answers a four-letter word that comes before it has loaded its database
START_SECONDS = 60.0  # a JVM takes 3 s of processor time, and four workers may start one each on a busy machine
APACHE_JARS = Path("/usr/share/java/zookeeper.jar")
ROOT = Path(__file__).resolve().parent.parent

# The first logger on the path is the one that is used: this one prints from INFO on.
APACHE_CLASS_PATH = "/usr/share/java/slf4j-simple.jar:/usr/share/java/*"


def four_letter(port: int, word: str, host: str = "127.0.0.1", timeout: float = 30) -> str:
    with socket.create_connection((host, port), timeout=timeout) as sock:
        sock.sendall(word.encode())
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    return answer.decode()


class ServerProcess:
    """One server in a process; the same data directory across `restart`.

    source: where the program of ours is. arguments: more of them for ours.
    """

    source: Path = ROOT

    def __init__(self, kind: str, directory: Path, **settings: object) -> None:
        self.kind = kind
        self.directory = directory
        self.data_dir = directory / "data"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.port = int(str(settings.get("clientPort") or free_port()))
        # Apache reads these keys only as system properties of the JVM.
        by_jvm = ("znode.", "readonlymode.")
        self.properties = [f"-D{key}={value}" for key, value in settings.items() if key.startswith(by_jvm)]
        self.config = directory / "zoo.cfg"
        self.log = directory / f"{kind}.log"
        values: dict[str, object] = {
            "tickTime": 500,
            "dataDir": self.data_dir,
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            "extendedTypesEnabled": "true",
        } | settings
        self.config.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        self.process: subprocess.Popen[bytes] | None = None
        self.wrapper: list[str] = []
        self.arguments: list[str] = []

    @property
    def hosts(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def command(self) -> list[str]:
        if self.kind == "ours":
            return [*self.wrapper, sys.executable, "-m", "recipes", "serve", str(self.config), *self.arguments]
        # Apache takes this switch as a system property, not from zoo.cfg, in some releases: give it both ways.
        flags = [
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",  # in a server that lives for seconds a better compiler does not pay off
            "-Dzookeeper.extendedTypesEnabled=true",
            "-Dzookeeper.4lw.commands.whitelist=*",
            *self.properties,
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        ]
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        return [*self.wrapper, "java", *flags, "-cp", APACHE_CLASS_PATH, main, str(self.config)]

    def start(self) -> ServerProcess:
        self.launch()
        self.await_start()
        return self

    def launch(self) -> None:
        """Start the process; do not wait for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=subprocess.PIPE if self.kind == "ours" else log,
                stderr=log,
                cwd=self.directory,
                env=os.environ | {"PYTHONPATH": str(self.source)},
            )

    def await_start(self) -> None:
        """Wait until it takes clients."""
        if self.kind == "ours":
            self._await_ready_line()
        else:
            self._await_answer()

    def _await_ready_line(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        deadline = time.monotonic() + START_SECONDS
        heard = b""
        while b"accepting clients" not in heard:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not piece:
                self._give_up(f"no ready line; it printed {heard!r}")
            heard += piece

    def _await_answer(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self._give_up("it does not serve")
            try:
                if "Mode:" in four_letter(self.port, "srvr", timeout=POLL_SECONDS):
                    return
            except OSError:
                pass
            # Nothing announces readiness but the port itself: pause between two polls, inside the deadline.
            select.select([], [], [], 0.05)

    def _give_up(self, why: str) -> None:
        tail = self.log.read_text(errors="replace")[-3000:]
        self.kill9()
        pytest.fail(f"{self.kind} server on {self.hosts}: {why}\n{tail}")

    def _ended(self) -> None:
        assert self.process is not None
        self.process.wait(START_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def kill9(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self._ended()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self._ended()

    def restart(self) -> None:
        self.kill9()
        self.start()


class RunningServer:
    """A running server, named by --zookeeper: tests use it and never stop it."""

    kind = "apache"

    def __init__(self, hosts: str) -> None:
        self.hosts = hosts
        self.port = int(hosts.rpartition(":")[2])
