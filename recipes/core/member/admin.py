"""Four-letter words: a monitor or an operator asks a server about itself, in ZooKeeper's formats.

Source: org.apache.zookeeper.server.command, ServerStats.java.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from recipes.core.address import java_host_port
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import un_long
from recipes.core.member.metrics import VERSION, average_latency_ms, monitor

if TYPE_CHECKING:
    from recipes.core.member.connection import Connection
    from recipes.core.member.member import Member

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
_LINES_AT_ONCE = 500
_ALWAYS = ("srvr", "isro")
_TRACKS_SESSIONS = ("standalone", "leader", "read-only")  # in these roles a server decides which sessions are over
_NOT_SERVING = {"ruok": "imok", "isro": "null"}  # to all other words but these: NOT_SERVING
_ALSO_NOT_SERVING = ("envi", "gtmk", "stmk")


def four_letter(member: "Member", data: bytes) -> bytes | Iterator[bytes] | None:
    """The answer to the word a connection starts with, or None when it starts with something else.

    An answer that may be long comes in pieces, of which each takes little time to make.
    """
    answer = _answer(member, data)
    if answer is None:
        return None
    return answer.encode() if isinstance(answer, str) else _in_pieces(answer)


def _in_pieces(answer: Iterator[str]) -> Iterator[bytes]:
    while lines := "".join(islice(answer, _LINES_AT_ONCE)):
        yield lines.encode()


def _answer(member: "Member", data: bytes) -> str | Iterator[str] | None:
    word = data[:4].decode("latin-1")
    command = _COMMANDS.get(word)
    if command is None and word != "stmk":
        return None
    allowed = member.config.four_letter_whitelist
    if word not in _ALWAYS and "*" not in allowed and word not in allowed:
        return f"{word} is not executed because it is not in the whitelist.\n"
    if not member.answers and word not in _ALSO_NOT_SERVING:
        return _NOT_SERVING.get(word, f"{NOT_SERVING}\n")
    if command is None:
        member.trace_mask = un_long(data, 4)[0]
        command = _gtmk
    return command(member)


def _ruok(member: "Member") -> str:
    return "imok"


def _isro(member: "Member") -> str:
    return "ro" if member.read_only.serving else "rw"


def _srvr(member: "Member") -> str:
    return f"{_version(member)}{_figures(member)}"


def _stat(member: "Member") -> Iterator[str]:
    yield f"{_version(member)}Clients:\n"
    for connection in list(member.connections.values()):
        yield f" {_brief(connection)})\n"
    yield f"\n{_figures(member)}"


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
        f"Mode: {member.role}\nNode count: {member.tree.count + 1}\n{_proposal_sizes(member)}{_protocol(member)}"
    )


def _proposal_sizes(member: "Member") -> str:
    sizes = member.stats.proposal_sizes
    if member.role != "leader":
        return ""
    return f"Proposal sizes last/min/max: {sizes.last}/{sizes.smallest}/{sizes.largest}\n"


def _protocol(member: "Member") -> str:
    """A line that ZooKeeper's servers do not have: they run only zab."""
    name = member.facts.protocol()
    return f"Protocol: {name}\n" if name not in ("", "zab") else ""


def _brief(connection: "Connection") -> str:
    interest = 1 if connection.session_id else 0
    counts = f"queued={connection.queued},recved={connection.packets_in},sent={connection.packets_out}"
    return f"/{java_host_port(*connection.address)}[{interest}]({counts}"


def _cons(member: "Member") -> Iterator[str]:
    for connection in list(member.connections.values()):
        line = f" {_brief(connection)}"
        if connection.session_id:
            line += (
                f",sid={_hex(connection.session_id)},lop={LAST_OP.get(connection.last_op, 'NA')},"
                f"est={connection.established_ms},to={connection.timeout_ms},"
                f"lcxid=0x{connection.last_xid & 0xFFFFFFFF:x},lzxid=0x{connection.last_zxid:x},"
                f"lresp={connection.last_answer_ms},llat={connection.latencies.of(connection.last_xid)},minlat=0,"
                f"avglat={connection.latencies.mean_ms(connection.packets_out)},maxlat={connection.latencies.most_ms}"
            )
        yield f"{line})\n"
    yield "\n"


def _mntr(member: "Member") -> str:
    return "".join(f"zk_{key}\t{value}\n" for key, value in monitor(member).items())


def _conf(member: "Member") -> str:
    data_bytes, log_bytes = member.facts.directories()
    sizes = {"dataDir": f"dataDirSize={data_bytes}\n", "dataLogDir": f"dataLogSize={log_bytes}\n"}
    lines = [f"{key}={value}\n{sizes.get(key, '')}" for key, value in member.config.settings]
    servers = next((at for at, line in enumerate(lines) if line.startswith("server.")), None)
    if servers is not None:
        lines.insert(servers, "membership: \n")
    return "".join(lines)


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
        connection.reset_stats()
    return "Connection stats reset.\n"


def reset_server_stats(member: "Member") -> str:
    """Count the server's packets and latency anew."""
    member.stats.reset()
    return "Server stats reset.\n"


def _dump(member: "Member") -> Iterator[str]:
    yield "SessionTracker dump:\n"
    if member.role in _TRACKS_SESSIONS:
        buckets = member.tracker.buckets()
        yield f"Session Sets ({len(buckets)})/({len(member.tracker)}):\n"
        for end_ms, sessions in buckets:
            yield f"{len(sessions)} expire at {_date(member, end_ms)}:\n"
            yield from (f"\t{_hex(session_id)}\n" for session_id in sessions)
    else:
        sessions_ms = sorted(member.tree.sessions.items())
        yield f"Global Sessions({len(sessions_ms)}):\n"
        yield from (f"{_hex(session_id)}\t{timeout_ms}ms\n" for session_id, timeout_ms in sessions_ms)
    ephemerals = member.tree.ephemerals
    yield f"ephemeral nodes dump:\nSessions with Ephemerals ({len(ephemerals)}):\n"
    for session_id in list(ephemerals):
        yield f"{_hex(session_id)}:\n"
        yield from (f"\t{path.decode(errors='replace')}\n" for path in list(ephemerals.get(session_id, ())))
    by_end: dict[int, list[Connection]] = {}
    for connection in member.connections.values():
        by_end.setdefault(member.hangs_up_ms(connection), []).append(connection)
    yield f"Connections dump:\nConnections Sets ({len(by_end)})/({len(member.connections)}):\n"
    for end_ms, connections in sorted(by_end.items()):
        yield f"{len(connections)} expire at {_date(member, end_ms)}:\n"
        for connection in connections:
            address = java_host_port(*connection.address)
            yield f"\tip: /{address} sessionId: {_hex(connection.session_id)}\n"


def _date(member: "Member", time_ms: int) -> str:
    """A time of the monotonic clock, as Java prints dates."""
    date = datetime.fromtimestamp((member.wall_ms + time_ms - member.now_ms) // 1000, UTC)
    return f"{date:%a %b %d %H:%M:%S UTC %Y}"


def _gtmk(member: "Member") -> str:
    return str(member.trace_mask)


def _wchs(member: "Member") -> str:
    connections, paths, total = member.tree.watches.summary()
    return f"{connections} connections watching {paths} paths\nTotal watches:{total}\n"


def _wchc(member: "Member") -> Iterator[str]:
    for watcher, watched in member.tree.watches.by_watcher():
        yield f"{_hex(getattr(watcher, 'session_id', 0))}\n"
        yield from (f"\t{path.decode(errors='replace')}\n" for path in watched)
    yield "\n"


def _wchp(member: "Member") -> Iterator[str]:
    for path, watchers in member.tree.watches.by_path():
        yield f"{path.decode(errors='replace')}\n"
        yield from (f"\t{_hex(getattr(watcher, 'session_id', 0))}\n" for watcher in watchers)
    yield "\n"


_COMMANDS: dict[str, Callable[["Member"], str | Iterator[str]]] = {
    "ruok": _ruok, "isro": _isro, "srvr": _srvr, "stat": _stat, "cons": _cons, "mntr": _mntr, "conf": _conf,
    "envi": _envi, "crst": reset_connection_stats, "srst": reset_server_stats, "dump": _dump, "wchs": _wchs,
    "wchc": _wchc, "wchp": _wchp, "gtmk": _gtmk, "dirs": _dirs, "hash": _hash,
}  # fmt: skip


def _hex(session_id: int) -> str:
    return f"0x{session_id & (1 << 64) - 1:x}"
