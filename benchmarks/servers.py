"""The two servers under test as processes of their own, both from the same zoo.cfg."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CLASSPATH = "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar"
# What Debian's zkServer.sh passes when nothing is configured: no heap limit, JMX for local tools.
JVM_FLAGS = (
    "-Dzookeeper.root.logger=INFO,ROLLINGFILE",
    "-XX:+HeapDumpOnOutOfMemoryError",
    "-XX:OnOutOfMemoryError=kill -9 %p",
    "-Dcom.sun.management.jmxremote",
    "-Dcom.sun.management.jmxremote.local.only=true",
)
STOP_SECONDS = 20
ZOO_CFG = """\
tickTime=2000
initLimit=10
syncLimit=5
dataDir={directory}/data
clientPortAddress=127.0.0.1
clientPort={port}
maxClientCnxns=0
forceSync=yes
admin.enableServer=false
"""


class Running(NamedTuple):
    name: str
    port: int
    pid: int

    @property
    def resident_mb(self) -> float:
        """Resident memory now, in MiB (VmRSS)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"{self.name}: process {self.pid} has no VmRSS, it has ended")


def command(name: str, zoo_cfg: Path) -> list[str]:
    if name == "ours":
        return [sys.executable, "-m", "recipes", "serve", str(zoo_cfg)]
    log_flags = [f"-Dzookeeper.log.dir={zoo_cfg.parent}", "-Dzookeeper.log.file=zookeeper.log"]
    main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
    return ["java", *log_flags, *JVM_FLAGS, "-cp", CLASSPATH, main, str(zoo_cfg)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(name: str, directory: Path) -> Iterator[Running]:
    """Run server `name` ("ours" or "apache") on an empty data directory below `directory`; then stop it and clean up.

    It may not yet accept clients when the block begins: the load generator waits for that.
    """
    home = directory / name
    shutil.rmtree(home, ignore_errors=True)
    (home / "data").mkdir(parents=True)
    zoo_cfg = home / "zoo.cfg"
    port = free_port()
    zoo_cfg.write_text(ZOO_CFG.format(directory=home, port=port))
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command(name, zoo_cfg), stdout=output, stderr=output)
    try:
        yield Running(name, port, process.pid)
        if process.poll() is not None:
            raise RuntimeError(
                f"{name} ended during the run with status {process.returncode}:\n{log.read_text()[-2000:]}"
            )
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{error}\n{error.stderr}\n{name} said:\n{log.read_text()[-2000:]}") from error
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(home, ignore_errors=True)
