"""Four-letter words: a monitor or an operator asks a server about itself, in ZooKeeper's formats.

Source: org.apache.zookeeper.server.command, ServerStats.java.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import un_long

if TYPE_CHECKING:
    from recipes.core.member.connection import Connection
    from recipes.core.member.member import Member

VERSION = "3.8.0-recipes, built on 2026-11-24 00:00 UTC"
NOT_SERVING = "This ZooKeeper instance is not currently serving requests"
# The last operation of a connection, in the words of Request.op2String.
LAST_OP = {
    op.CREATE: "CREA", op.CREATE2: "CREA", op.CREATE_TTL: "CREA", op.CREATE_CONTAINER: "CREA", op.DELETE: "DELE",
    op.EXISTS: "EXIS", op.GET_DATA: "GETD", op.SET_DATA: "SETD", op.GET_ACL: "GETA", op.SET_ACL: "SETA",
    op.GET_CHILDREN: "GETC", op.GET_CHILDREN2: "GETC", op.SYNC: "SYNC", op.PING: "PING", op.CHECK: "CHEC",
    op.MULTI: "MULT", op.MULTI_READ: "MLTR", op.RECONFIG: "RECO", op.CLOSE_SESSION: "CLOS", op.SET_WATCHES: "SETW",
    op.SET_WATCHES2: "STW2", op.ADD_WATCH: "ADDW", op.CHECK_WATCHES: "CHKW", op.REMOVE_WATCHES: "REMW",
    op.GET_EPHEMERALS: "GETE", op.GET_ALL_CHILDREN_NUMBER: "GETACN", op.WHO_AM_I: "HOMI", 0: "SESS",
}  # fmt: skip
_ALWAYS = ("srvr", "isro")
_NOT_SERVING = {"ruok": "imok", "isro": "null"}  # to all other words: NOT_SERVING


def four_letter(member: "Member", data: bytes) -> bytes | None:
    """The answer to the word a connection starts with, or None when it starts with something else."""
    word = data[:4].decode("latin-1")
    command = _COMMANDS.get(word)
    if command is None and word != "stmk":
        return None
    allowed = member.config.four_letter_whitelist
    if word not in _ALWAYS and "*" not in allowed and word not in allowed:
        return f"{word} is not executed because it is not in the whitelist.\n".encode()
    if not (member.serving or member.read_only.serving):
        return _NOT_SERVING.get(word, f"{NOT_SERVING}\n").encode()
    if command is None:
        member.trace_mask = un_long(data, 4)[0]
        command = _gtmk
    return command(member).encode()


def average_latency_ms(member: "Member") -> float:
    """Mean latency, rounded as Java prints it."""
    stats = member.stats
    replies = stats.packets_sent - stats.events_sent
    return round(stats.latency_total_ms / replies, 4) if replies else 0.0


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
        "local_sessions": len(member.read_only.tracker),
        "stale_sessions_expired": stats.sessions_expired,
        "auth_failed_count": stats.auth_failed,
        "digest_mismatches_count": stats.digest_mismatches,
        **member.facts.figures(),
    }


def _ruok(member: "Member") -> str:
    return "imok"


def _isro(member: "Member") -> str:
    return "ro" if member.read_only.serving else "rw"


def _srvr(member: "Member") -> str:
    return f"{_version(member)}{_figures(member)}"


def _stat(member: "Member") -> str:
    clients = "".join(f" {_brief(connection)})\n" for connection in member.connections.values())
    return f"{_version(member)}Clients:\n{clients}\n{_figures(member)}"


def _version(member: "Member") -> str:
    mode = "READ-ONLY mode; serving only read-only clients\n" if member.read_only.serving else ""
    return f"Zookeeper version: {VERSION}\n{mode}"


def _figures(member: "Member") -> str:
    stats = member.stats
    latency = f"{stats.latency_min_ms}/{average_latency_ms(member)}/{stats.latency_max_ms}"
    return (
        f"Latency min/avg/max: {latency}\nReceived: {stats.packets_received}\nSent: {stats.packets_sent}\n"
        f"Connections: {len(member.connections)}\nOutstanding: {member.outstanding}\n"
        f"Zxid: 0x{member.tree.last_zxid:x}\n"
        f"Mode: {member.role}\nNode count: {len(member.tree.nodes) + 1}\n{_protocol(member)}"
    )


def _protocol(member: "Member") -> str:
    """A line that ZooKeeper's servers do not have: they run only zab."""
    name = member.facts.protocol()
    return f"Protocol: {name}\n" if name not in ("", "zab") else ""


def _brief(connection: "Connection") -> str:
    host, port = connection.address
    return f"/{host}:{port}[1](queued={connection.queued},recved={connection.packets_in},sent={connection.packets_out}"


def _cons(member: "Member") -> str:
    lines = []
    for connection in member.connections.values():
        line = f" {_brief(connection)}"
        if connection.session_id:
            line += (
                f",sid={_hex(connection.session_id)},lop={LAST_OP.get(connection.last_op, 'NA')},"
                f"est={connection.established_ms},to={connection.timeout_ms},"
                f"lcxid=0x{connection.last_xid & 0xFFFFFFFF:x},lzxid=0x{connection.last_zxid:x}"
            )
        lines.append(f"{line})\n")
    return "".join(lines) + "\n"


def _mntr(member: "Member") -> str:
    return "".join(f"zk_{key}\t{value}\n" for key, value in monitor(member).items())


def _conf(member: "Member") -> str:
    data_bytes, log_bytes = member.facts.directories()
    sizes = {"dataDir": f"dataDirSize={data_bytes}\n", "dataLogDir": f"dataLogSize={log_bytes}\n"}
    return "".join(f"{key}={value}\n{sizes.get(key, '')}" for key, value in member.config.settings)


def _dirs(member: "Member") -> str:
    data_bytes, log_bytes = member.facts.directories()
    return f"datadir_size: {data_bytes}\nlogdir_size: {log_bytes}\n"


def _hash(member: "Member") -> str:
    return "".join(f"{zxid:x}: {digest}\n" for zxid, digest in member.tree.digests)


def _envi(member: "Member") -> str:
    lines = "".join(f"{key}={value}\n" for key, value in member.config.environment)
    return f"Environment:\nzookeeper.version={VERSION}\n{lines}"


def reset_connection_stats(member: "Member") -> str:
    """Count each connection's packets anew."""
    for connection in member.connections.values():
        connection.packets_in = connection.packets_out = 0
    return "Connection stats reset.\n"


def reset_server_stats(member: "Member") -> str:
    """Count the server's packets and latency anew."""
    member.stats.reset()
    return "Server stats reset.\n"


def _dump(member: "Member") -> str:
    buckets = member.tracker.buckets()
    lines = ["SessionTracker dump:\n", f"Session Sets ({len(buckets)})/({len(member.tracker)}):\n"]
    for end_ms, sessions in buckets:
        ends = datetime.fromtimestamp((member.wall_ms + end_ms - member.now_ms) // 1000, UTC)
        lines.append(f"{len(sessions)} expire at {ends:%a %b %d %H:%M:%S UTC %Y}:\n")
        lines += [f"\t{_hex(session_id)}\n" for session_id in sessions]
    lines += ["ephemeral nodes dump:\n", f"Sessions with Ephemerals ({len(member.tree.ephemerals)}):\n"]
    for session_id, owned in member.tree.ephemerals.items():
        lines.append(f"{_hex(session_id)}:\n")
        lines += [f"\t{path.decode(errors='replace')}\n" for path in owned]
    lines += ["Connections dump:\n", f"Connections Sets (1)/({len(member.connections)}):\n"]
    for connection in member.connections.values():
        host, port = connection.address
        lines.append(f"\tip: /{host}:{port} sessionId: {_hex(connection.session_id)}\n")
    return "".join(lines)


def _gtmk(member: "Member") -> str:
    return str(member.trace_mask)


def _wchs(member: "Member") -> str:
    connections, paths, total = member.tree.watches.summary()
    return f"{connections} connections watching {paths} paths\nTotal watches:{total}\n"


def _wchc(member: "Member") -> str:
    lines = []
    for watcher, watched in member.tree.watches.by_watcher().items():
        lines.append(f"{_hex(getattr(watcher, 'session_id', 0))}\n")
        lines += [f"\t{path.decode(errors='replace')}\n" for path in watched]
    return "".join(lines) + "\n"


def _wchp(member: "Member") -> str:
    lines = []
    for path, watchers in member.tree.watches.by_path().items():
        lines.append(f"{path.decode(errors='replace')}\n")
        lines += [f"\t{_hex(getattr(watcher, 'session_id', 0))}\n" for watcher in watchers]
    return "".join(lines) + "\n"


_COMMANDS: dict[str, Callable[["Member"], str]] = {
    "ruok": _ruok, "isro": _isro, "srvr": _srvr, "stat": _stat, "cons": _cons, "mntr": _mntr, "conf": _conf,
    "envi": _envi, "crst": reset_connection_stats, "srst": reset_server_stats, "dump": _dump, "wchs": _wchs,
    "wchc": _wchc, "wchp": _wchp, "gtmk": _gtmk, "dirs": _dirs, "hash": _hash,
}  # fmt: skip


def _hex(session_id: int) -> str:
    return f"0x{session_id & (1 << 64) - 1:x}"
