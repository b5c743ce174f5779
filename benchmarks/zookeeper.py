"""Our server and Apache's: both from the same zoo.cfg, asked with the same four-letter word."""

import socket
import sys
from pathlib import Path

from benchmarks.server import Server

CLASSPATH = "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar"
# What Debian's zkServer.sh passes when nothing is configured: no heap limit, JMX for local tools.
JVM_FLAGS = (
    "-Dzookeeper.root.logger=INFO,ROLLINGFILE",
    "-XX:+HeapDumpOnOutOfMemoryError",
    "-XX:OnOutOfMemoryError=kill -9 %p",
    "-Dcom.sun.management.jmxremote",
    "-Dcom.sun.management.jmxremote.local.only=true",
)
ZOO_CFG = """\
tickTime=2000
initLimit=10
syncLimit=5
dataDir={home}/data
clientPortAddress=127.0.0.1
clientPort={port}
maxClientCnxns=0
forceSync=yes
admin.enableServer=false
"""

TREE = "tree:"  # begins the kind of a side that runs ours from the clone whose path follows


def prepare(server: Server, members: list[Server]) -> list[str]:
    """Write zoo.cfg and myid of `server`; returns its command. One member alone runs standalone."""
    data, zoo_cfg = server.home / "data", server.home / "zoo.cfg"
    data.mkdir(parents=True)
    text = ZOO_CFG.format(home=server.home, port=server.port)
    if len(members) > 1:
        (data / "myid").write_text(f"{server.sid}\n")
        text += "".join(f"server.{one.sid}=127.0.0.1:{one.peer_port}:{one.election_port}\n" for one in members)
    if server.kind == "raft":
        text += "protocol=raft\n"
    zoo_cfg.write_text(text)
    serve = [sys.executable, "-P", "-m", "recipes", "serve", str(zoo_cfg)]  # as it is installed, not as it lies here
    if server.kind in ("ours", "zab", "raft"):
        return serve
    if server.kind.startswith(TREE):
        return ["env", f"PYTHONPATH={Path(server.kind.removeprefix(TREE)).resolve()}", *serve]
    log_flags = [f"-Dzookeeper.log.dir={server.home}", "-Dzookeeper.log.file=zookeeper.log"]
    main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
    return ["java", *log_flags, *JVM_FLAGS, "-cp", CLASSPATH, main, str(zoo_cfg)]


def role(server: Server) -> str | None:
    """`standalone`, `leader` or `follower`; None while it does not serve."""
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=1) as connection:
            connection.sendall(b"srvr")
            answer = connection.makefile("rb").read().decode()
    except OSError:
        return None
    return next((line[6:] for line in answer.splitlines() if line.startswith("Mode: ")), None)
