"""etcd, from Debian's etcd-server: with its defaults, fsync included."""

import http.client
import json
import shutil
from typing import Any

from benchmarks.server import Server


def installed() -> bool:
    return shutil.which("etcd") is not None


def prepare(server: Server, members: list[Server]) -> list[str]:
    """The command of `server`; etcd reads no file."""

    def url(port: int) -> str:
        return f"http://127.0.0.1:{port}"

    cluster = ",".join(f"s{one.sid}={url(one.peer_port)}" for one in members)
    flags = {
        "name": f"s{server.sid}",
        "data-dir": str(server.home / "data"),
        "listen-client-urls": url(server.port),
        "advertise-client-urls": url(server.port),
        "listen-peer-urls": url(server.peer_port),
        "initial-advertise-peer-urls": url(server.peer_port),
        "initial-cluster": cluster,
        "initial-cluster-token": f"bench-{members[0].peer_port}",
    }
    return ["etcd", *(f"--{name}={value}" for name, value in flags.items())]


def role(server: Server) -> str | None:
    """`leader` or `follower`; None while it does not serve or knows of no leader."""
    try:
        status = call(server.port, "maintenance/status", {}, timeout=1)
    except (OSError, http.client.HTTPException):
        return None
    leader = status.get("leader", "0")
    return None if leader == "0" else "leader" if leader == status["header"]["member_id"] else "follower"


def call(port: int, method: str, request: dict[str, Any], timeout: float) -> dict[str, Any]:
    """One call of the v3 JSON gateway. Raises OSError when the server refuses it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", f"/v3/{method}", json.dumps(request))
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise ConnectionError(f"etcd answered {response.status}: {answer[:200]!r}")
        decoded: dict[str, Any] = json.loads(answer)
        return decoded
    finally:
        connection.close()
