"""Commands over HTTP: the JSON of /commands/<name>, in ZooKeeper's keys.

Source: org.apache.zookeeper.server.admin.Commands.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from recipes.core.address import java_host_port
from recipes.core.member.admin import LAST_OP, NOT_SERVING, reset_connection_stats, reset_server_stats
from recipes.core.member.facts import Answer
from recipes.core.member.listing import LongList, LongMap
from recipes.core.member.metrics import VERSION, average_latency_ms, monitor, uncertified
from recipes.core.member.stats import Sizes

if TYPE_CHECKING:
    from recipes.core.member.connection import Connection
    from recipes.core.member.member import Member

# The commands that a server answers while it serves nobody, not even readers.
_ALSO_NOT_SERVING = frozenset(("environment", "get_trace_mask", "set_trace_mask", "system_properties", "zabstate"))


def name_of(asked: str) -> str | None:
    """The name of a command, which may be asked for by another of its names; None for an unknown command."""
    return next((name for name, (aliases, _) in COMMANDS.items() if asked == name or asked in aliases), None)


# The commands that change something: not by GET, which a link, a picture in a page or a crawler can bring about.
CHANGES: Final = frozenset(("connection_stat_reset", "observer_connection_stat_reset", "set_trace_mask", "stat_reset"))


def command(member: "Member", asked: str, arguments: Mapping[str, str] | None = None) -> Answer:
    """The JSON of /commands/<asked>?<arguments>; for an unknown command it has an `error`.

    Its long lists are made only when `json_pieces` writes them.
    """
    name = name_of(asked)
    if name is None:
        return {"command": asked, "error": f"Unknown command: {asked}"}
    if not member.answers and name not in _ALSO_NOT_SERVING:
        return {"command": name, "error": NOT_SERVING}
    if name == "set_trace_mask":
        return {**_set_trace_mask(member, arguments or {}), "command": name}
    return {"error": None, **COMMANDS[name][1](member), "command": name}


def _configuration(member: "Member") -> Answer:
    names = {
        "clientPort": "client_port", "dataDir": "data_dir", "dataLogDir": "data_log_dir", "tickTime": "tick_time",
        "maxClientCnxns": "max_client_cnxns", "minSessionTimeout": "min_session_timeout",
        "maxSessionTimeout": "max_session_timeout", "serverId": "server_id",
        "clientPortListenBacklog": "client_port_listen_backlog",
    }  # fmt: skip
    return {
        names[key]: value if key.endswith("Dir") else int(value)
        for key, value in member.config.settings
        if key in names
    }


def _connections(member: "Member") -> Answer:
    return _by_port(member, _in_full)


def _by_port(member: "Member", shown: Callable[["Connection"], Answer]) -> Answer:
    connections = list(member.connections.values())
    return {
        "connections": LongList(shown(connection) for connection in connections if not connection.secure),
        "secure_connections": LongList(shown(connection) for connection in connections if connection.secure),
    }


def _in_brief(connection: "Connection") -> Answer:
    return {
        "remote_socket_address": java_host_port(*connection.address),
        "interest_ops": 1,
        "outstanding_requests": connection.queued,
        "packets_received": connection.packets_in,
        "packets_sent": connection.packets_out,
    }


def _in_full(connection: "Connection") -> Answer:
    return {
        **_in_brief(connection),
        "session_id": connection.session_id,
        "last_operation": LAST_OP.get(connection.last_op, "NA"),
        "established": connection.established_ms,
        "session_timeout": connection.timeout_ms,
        "last_cxid": connection.last_xid,
        "last_zxid": connection.last_zxid,
        "last_response_time": connection.last_answer_ms,
        "last_latency": connection.latencies.of(connection.last_xid),
        "min_latency": 0,
        "avg_latency": connection.latencies.mean_ms(connection.packets_out),
        "max_latency": connection.latencies.most_ms,
    }


def _server_stats(member: "Member") -> Answer:
    stats, replies = member.stats, _sizes(member.stats.reply_sizes)
    local, remote = uncertified(member)
    data_bytes, log_bytes = member.facts.directories()
    figures = {
        "packets_sent": stats.packets_sent,
        "packets_received": stats.packets_received,
        "fsync_threshold_exceed_count": stats.slow_syncs,
        "client_response_stats": replies,
        "data_dir_size": data_bytes,
        "log_dir_size": log_bytes,
        "provider_null": False,
        "server_state": member.role,
        "last_processed_zxid": member.tree.last_zxid,
        "outstanding_requests": member.outstanding,
        "avg_latency": average_latency_ms(member),
        "max_latency": stats.latency_max_ms,
        "min_latency": stats.latency_min_ms,
        "num_alive_client_connections": len(member.connections),
        "auth_failed_count": stats.auth_failed,
        "non_mtlsremote_conn_count": remote,
        "non_mtlslocal_conn_count": local,
        "uptime": member.now_ms - member.started_ms,
    }
    return {
        "version": VERSION,
        "read_only": member.read_only.serving,
        "server_stats": figures,
        "client_response": replies,
        **({"proposal_stats": _sizes(stats.proposal_sizes)} if member.role == "leader" else {}),
        "node_count": member.tree.count + 1,
    }


def _sizes(sizes: Sizes) -> Answer:
    return {
        "last_buffer_size": sizes.last,
        "min_buffer_size": sizes.smallest,
        "max_buffer_size": sizes.largest,
    }


def _session_dump(member: "Member") -> Answer:
    owned = (
        (str(session_id), LongList(_text(path) for path in list(member.tree.ephemerals.get(session_id, ()))))
        for session_id in list(member.tree.ephemerals)
    )
    ends = ((str(end_ms), sessions) for end_ms, sessions in member.tracker.buckets())
    return {"expiry_time_to_session_ids": LongMap(ends), "session_id_to_ephemeral_paths": LongMap(owned)}


def _watches(member: "Member") -> Answer:
    found = (
        (str(_session_of(watcher)), LongList(map(_text, watched)))
        for watcher, watched in member.tree.watches.by_watcher()
    )
    return {"session_id_to_watched_paths": LongMap(found)}


def _watches_by_path(member: "Member") -> Answer:
    found = ((_text(path), LongList(map(_session_of, watchers))) for path, watchers in member.tree.watches.by_path())
    return {"path_to_session_ids": LongMap(found)}


def _text(path: bytes) -> str:
    return path.decode(errors="replace")


def _session_of(watcher: object) -> int:
    session_id: int = getattr(watcher, "session_id", 0)
    return session_id


def _watch_summary(member: "Member") -> Answer:
    connections, paths, total = member.tree.watches.summary()
    return {"num_connections": connections, "num_paths": paths, "num_total_watches": total}


def _environment(member: "Member") -> Answer:
    return {"zookeeper.version": VERSION, **dict(member.config.environment)}


def _directories(member: "Member") -> Answer:
    return dict(zip(("datadir_size", "logdir_size"), member.facts.directories(), strict=True))


def _digests(member: "Member") -> Answer:
    history = [{"zxid": zxid, "digest": digest, "digest_version": 2} for zxid, digest in member.tree.digests]
    return {"digests": history}


def _last_snapshot(member: "Member") -> Answer:
    zxid, time_s = member.facts.last_snapshot()
    return {"zxid": f"{zxid:x}", "timestamp": time_s}


def _leader(member: "Member") -> Answer:
    return member.facts.leader() or {"error": "server is not initialized"}


def _observers(member: "Member") -> Answer:
    observers = member.facts.observers()
    return {"synced_observers": len(observers), "observers": observers}


def _set_trace_mask(member: "Member", arguments: Mapping[str, str]) -> Answer:
    asked = arguments.get("traceMask")
    try:
        member.trace_mask = int(asked or "")
    except ValueError:
        got = "" if asked is None else f", got {asked}"
        return {"error": f"setTraceMask requires long traceMask argument{got}"}
    return {"error": None, **_trace_mask(member)}


def _trace_mask(member: "Member") -> Answer:
    return {"tracemask": member.trace_mask}


def _after(reset: Callable[["Member"], str]) -> Callable[["Member"], Answer]:
    def answer(member: "Member") -> Answer:
        reset(member)
        return {}

    return answer


# By name: its other names, and the function that answers.
COMMANDS: dict[str, tuple[tuple[str, ...], Callable[["Member"], Answer]]] = {
    "configuration": (("conf", "config"), _configuration),
    "connections": (("cons",), _connections),
    "connection_stat_reset": (("crst",), _after(reset_connection_stats)),
    "dirs": ((), _directories),
    "dump": ((), _session_dump),
    "environment": (("env", "envi"), _environment),
    "get_trace_mask": (("gtmk",), _trace_mask),
    "hash": ((), _digests),
    "initial_configuration": (
        ("icfg",),
        lambda member: {"initial_configuration": member.facts.initial_configuration()},
    ),
    "is_read_only": (("isro",), lambda member: {"read_only": member.read_only.serving}),
    "last_snapshot": (("lsnp",), _last_snapshot),
    "leader": (("lead",), _leader),
    "monitor": (("mntr",), lambda member: dict(monitor(member))),
    "observer_connection_stat_reset": (("orst",), lambda member: {}),
    "observers": (("obsr",), _observers),
    "ruok": ((), lambda member: {}),
    "server_stats": (("srvr",), _server_stats),
    "set_trace_mask": (("stmk",), _trace_mask),
    "stat_reset": (("srst",), _after(reset_server_stats)),
    "stats": (("stat",), lambda member: {**_server_stats(member), **_by_port(member, _in_brief)}),
    "system_properties": (("sysp",), lambda member: dict(member.facts.system_properties())),
    "voting_view": ((), lambda member: {"current_config": member.facts.voting_view()}),
    "watch_summary": (("wchs",), _watch_summary),
    "watches": (("wchc",), _watches),
    "watches_by_path": (("wchp",), _watches_by_path),
    "zabstate": ((), lambda member: member.facts.zabstate()),
}
