"""A server's figures under the names of Apache's: for `mntr`, /commands/monitor and Prometheus.

Source: MonitorCommand.java, ServerMetrics.java, AvgMinMaxPercentileCounter.java, PrometheusMetricsProvider.java.
docs/operations.md says what each means, and which of Apache's names have no meaning here.
"""

from typing import TYPE_CHECKING

from recipes.core.address import is_loopback
from recipes.core.summary import Summary

if TYPE_CHECKING:
    from recipes.core.member.member import Member

Value = str | int | float

VERSION = "3.8.0-recipes, built on 2026-11-24 00:00 UTC"
_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}
_QUANTILES = (0.5, 0.9, 0.99)
# Summaries with percentiles in `mntr`, as in Apache's.
_WITH_PERCENTILES = frozenset(
    ("sync_processor_queue_flush_time_ms", "sync_processor_queue_and_flush_time_ms", "readlatency", "updatelatency",
     "propagation_latency", "quorum_ack_latency", "commit_propagation_latency", "proposal_latency")
)  # fmt: skip
# What only rises, until `srst`; everything else is a gauge.
COUNTERS = frozenset(
    ("packets_received", "packets_sent", "stale_sessions_expired", "auth_failed_count", "digest_mismatches_count",
     "bytes_received_count", "response_bytes", "connection_request_count", "connection_revalidate_count",
     "revalidate_count", "connection_rejected", "sessionless_connections_expired", "unsuccessful_handshake",
     "tls_handshake_exceeded",
     "cnxn_closed_without_zk_server_running", "request_throttle_wait_count", "stale_replies", "proposal_count",
     "commit_count", "learner_proposal_received_count", "learner_commit_received_count", "request_commit_queued",
     "prep_processor_request_queued", "sync_processor_request_queued", "snap_count", "diff_count", "looking_count",
     "insecure_admin_count")
)  # fmt: skip


def average_latency_ms(member: "Member") -> float:
    """Mean latency, rounded as Java prints it."""
    stats = member.stats
    replies = stats.packets_sent - stats.events_sent
    return round(stats.latency_total_ms / replies, 4) if replies > 0 else 0.0


def uncertified(member: "Member") -> tuple[int, int]:
    """How many clients are connected without a certificate, from this machine and from others."""
    plain = [each for each in member.connections.values() if all(scheme != b"x509" for scheme, _ in each.ids)]
    local = sum(is_loopback(each.address[0]) for each in plain)
    return local, len(plain) - local


def figures(member: "Member") -> dict[str, Value]:
    """The figures that are one value each."""
    stats, tree, alone = member.stats, member.tree, not member.config.ensemble
    local, remote = uncertified(member)
    made: dict[str, Value] = {
        "version": VERSION,
        "server_state": member.role,
        "avg_latency": average_latency_ms(member),
        "max_latency": stats.latency_max_ms,
        "min_latency": stats.latency_min_ms,
        "packets_received": stats.packets_received,
        "packets_sent": stats.packets_sent,
        "num_alive_connections": len(member.connections),
        "outstanding_requests": member.outstanding,
        "znode_count": tree.count + 1,
        "watch_count": tree.watches.total,
        "ephemerals_count": sum(len(owned) for owned in tree.ephemerals.values()),
        "approximate_data_size": tree.data_bytes,
        "store_memory_bytes": member.memory.used_bytes,
        "store_memory_limit_bytes": member.memory.limit_bytes,
        "store_is_full": int(member.memory.full),
        "uptime": member.now_ms - member.started_ms,
        "global_sessions": len(tree.sessions),
        "local_sessions": len(member.read_only.tracker),
        "last_client_response_size": stats.reply_sizes.last,
        "max_client_response_size": stats.reply_sizes.largest,
        "min_client_response_size": stats.reply_sizes.smallest,
        "stale_sessions_expired": stats.sessions_expired,
        "auth_failed_count": stats.auth_failed,
        "digest_mismatches_count": stats.digest_mismatches,
        "bytes_received_count": stats.bytes_received,
        "response_bytes": stats.bytes_sent,
        "connection_request_count": stats.handshakes,
        "connection_revalidate_count": stats.resumed,
        "revalidate_count": stats.revalidated,
        "connection_rejected": stats.connections_rejected,
        "sessionless_connections_expired": stats.sessionless,
        "non_mtls_local_conn_count": local,
        "non_mtls_remote_conn_count": remote,
        "unsuccessful_handshake": stats.handshakes_failed,
        "tls_handshake_exceeded": stats.handshakes_exceeded,
        "cnxn_closed_without_zk_server_running": stats.turned_away,
        "request_throttle_wait_count": stats.pauses,
        "stale_replies": stats.stale_replies,
        "prep_processor_request_queued": stats.prepared,
        "sync_processor_request_queued": stats.logged,
        "proposal_count": 0 if alone else stats.prepared,
        "commit_count": 0 if alone else stats.commits,
        "learner_proposal_received_count": stats.proposals_received,
        "learner_commit_received_count": stats.informs,
        "request_commit_queued": 0 if alone else stats.commits + stats.informs,
        "snap_count": stats.snapshots_sent,
        "looking_count": stats.looked,
        "insecure_admin_count": stats.admin_requests,
    }
    if member.role == "leader":
        sizes = stats.proposal_sizes
        made |= {
            "last_proposal_size": sizes.last,
            "max_proposal_size": sizes.largest,
            "min_proposal_size": sizes.smallest,
        }
    return made | member.facts.figures()


def monitor(member: "Member") -> dict[str, Value]:
    """All figures of `mntr`, without their prefix: a summary is several of them."""
    made = figures(member)
    for name, summary in member.stats.summaries().items():
        made |= {
            f"avg_{name}": summary.average,
            f"min_{name}": summary.least,
            f"max_{name}": summary.most,
            f"cnt_{name}": summary.count,
            f"sum_{name}": summary.total,
        }
        if name in _WITH_PERCENTILES:
            made |= {f"{short}_{name}": summary.percentile(share) for short, share in _PERCENTILES.items()}
    return made


def prometheus(member: "Member") -> str:
    """The figures in Prometheus' text format 0.0.4; those that are text are left out."""
    lines = [
        f"# TYPE {name} {'counter' if name in COUNTERS else 'gauge'}\n{name} {value}\n"
        for name, value in figures(member).items()
        if not isinstance(value, str)
    ]
    lines += [_as_summary(name, summary) for name, summary in member.stats.summaries().items()]
    return "".join(lines)


def _as_summary(name: str, summary: Summary) -> str:
    shares = _QUANTILES if name in _WITH_PERCENTILES else _QUANTILES[:1]
    quantiles = "".join(f'{name}{{quantile="{share}"}} {summary.percentile(share)}\n' for share in shares)
    return f"# TYPE {name} summary\n{quantiles}{name}_count {summary.count}\n{name}_sum {summary.total}\n"
