"""Four-letter words: what a monitor or a person asks a server about itself, in ZooKeeper's formats.

Source: org.apache.zookeeper.server.command, ServerStats.java.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from recipes.core.jute.opcodes import OPCODE_NAMES

if TYPE_CHECKING:
    from recipes.core.member.connection import Connection
    from recipes.core.member.member import Member

VERSION = "3.8.0-recipes, built on 2026-11-24 00:00 UTC"
_ALWAYS = ("srvr", "isro")


def four_letter(member: "Member", data: bytes) -> bytes | None:
    """The answer to the word a connection starts with, or None when it starts with something else."""
    word = data[:4].decode("latin-1")
    command = _COMMANDS.get(word)
    if command is None:
        return None
    allowed = member.config.four_letter_whitelist
    if word not in _ALWAYS and "*" not in allowed and word not in allowed:
        return f"{word} is not executed because it is not in the whitelist.\n".encode()
    return command(member).encode()


def average_latency_ms(member: "Member") -> float:
    """Mean latency, rounded as Java prints it."""
    stats = member.stats
    return round(stats.latency_total_ms / stats.latency_count, 4) if stats.latency_count else 0.0


def monitor(member: "Member") -> dict[str, str | int | float]:
    """The figures of `mntr`, without their prefix."""
    stats, tree = member.stats, member.tree
    return {
        "version": VERSION,
        "server_state": member.role,
        "avg_latency": average_latency_ms(member),
        "max_latency": stats.latency_max_ms,
        "min_latency": stats.latency_min_ms,
        "packets_received": stats.packets_received,
        "packets_sent": stats.packets_sent,
        "num_alive_connections": len(member.connections),
        "outstanding_requests": member.outstanding,
        "znode_count": len(tree.nodes) + 1,
        "watch_count": tree.watches.total,
        "ephemerals_count": sum(len(owned) for owned in tree.ephemerals.values()),
        "approximate_data_size": tree.data_bytes,
        "uptime": member.now_ms - member.started_ms,
        "global_sessions": len(tree.sessions),
        "local_sessions": 0,
        "stale_sessions_expired": stats.sessions_expired,
        "auth_failed_count": stats.auth_failed,
    }


def _ruok(member: "Member") -> str:
    return "imok"


def _isro(member: "Member") -> str:
    return "rw"


def _srvr(member: "Member") -> str:
    return f"Zookeeper version: {VERSION}\n{_figures(member)}"


def _stat(member: "Member") -> str:
    clients = "".join(f" {_brief(connection)})\n" for connection in member.connections.values())
    return f"Zookeeper version: {VERSION}\nClients:\n{clients}\n{_figures(member)}"


def _figures(member: "Member") -> str:
    stats = member.stats
    latency = f"{stats.latency_min_ms}/{average_latency_ms(member)}/{stats.latency_max_ms}"
    return (
        f"Latency min/avg/max: {latency}\nReceived: {stats.packets_received}\nSent: {stats.packets_sent}\n"
        f"Connections: {len(member.connections)}\nOutstanding: {member.outstanding}\nZxid: 0x{member.tree.last_zxid:x}\n"
        f"Mode: {member.role}\nNode count: {len(member.tree.nodes) + 1}\n"
    )


def _brief(connection: "Connection") -> str:
    host, port = connection.address
    return (
        f"/{host}:{port}[1](queued={connection.queued},recved={connection.packets_in},sent={connection.packets_out}"
    )


def _cons(member: "Member") -> str:
    lines = []
    for connection in member.connections.values():
        line = f" {_brief(connection)}"
        if connection.session_id:
            line += (
                f",sid=0x{connection.session_id & (1 << 64) - 1:x},lop={OPCODE_NAMES.get(connection.last_op, 'NA')},"
                f"est={connection.established_ms},to={connection.timeout_ms},lcxid=0x{connection.last_xid & 0xFFFFFFFF:x},"
                f"lzxid=0x{connection.last_zxid:x}"
            )
        lines.append(f"{line})\n")
    return "".join(lines) + "\n"


def _mntr(member: "Member") -> str:
    return "".join(f"zk_{key}\t{value}\n" for key, value in monitor(member).items())


def _conf(member: "Member") -> str:
    return "".join(f"{key}={value}\n" for key, value in member.config.settings)


def _envi(member: "Member") -> str:
    return f"Environment:\nzookeeper.version={VERSION}\n"


def _crst(member: "Member") -> str:
    for connection in member.connections.values():
        connection.packets_in = connection.packets_out = 0
    return "Connection stats reset.\n"


def _srst(member: "Member") -> str:
    member.stats.reset()
    return "Server stats reset.\n"


def _dump(member: "Member") -> str:
    buckets = member.tracker.buckets()
    lines = ["SessionTracker dump:\n", f"Session Sets ({len(buckets)})/({len(member.tracker)}):\n"]
    for end_ms, sessions in buckets:
        lines.append(f"{len(sessions)} expire in {end_ms - member.now_ms} ms:\n")
        lines += [f"\t0x{session_id & (1 << 64) - 1:x}\n" for session_id in sessions]
    lines += ["ephemeral nodes dump:\n", f"Sessions with Ephemerals ({len(member.tree.ephemerals)}):\n"]
    for session_id, owned in member.tree.ephemerals.items():
        lines.append(f"0x{session_id & (1 << 64) - 1:x}:\n")
        lines += [f"\t{path.decode(errors='replace')}\n" for path in owned]
    return "".join(lines)


def _wchs(member: "Member") -> str:
    connections, paths, total = member.tree.watches.summary()
    return f"{connections} connections watching {paths} paths\nTotal watches:{total}\n"


def _wchc(member: "Member") -> str:
    lines = []
    for watcher, watched in member.tree.watches.by_watcher().items():
        lines.append(f"0x{getattr(watcher, 'session_id', 0) & (1 << 64) - 1:x}\n")
        lines += [f"\t{path.decode(errors='replace')}\n" for path in watched]
    return "".join(lines) + "\n"


def _wchp(member: "Member") -> str:
    lines = []
    for path, watchers in member.tree.watches.by_path().items():
        lines.append(f"{path.decode(errors='replace')}\n")
        lines += [f"\t0x{getattr(watcher, 'session_id', 0) & (1 << 64) - 1:x}\n" for watcher in watchers]
    return "".join(lines) + "\n"


_COMMANDS: dict[str, Callable[["Member"], str]] = {
    "ruok": _ruok, "isro": _isro, "srvr": _srvr, "stat": _stat, "cons": _cons, "mntr": _mntr, "conf": _conf, "envi": _envi,
    "crst": _crst, "srst": _srst, "dump": _dump, "wchs": _wchs, "wchc": _wchc, "wchp": _wchp,
}  # fmt: skip
