"""The settings of a store's server, written out: the code that checks a zoo.cfg takes too long to import."""

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from recipes.core.protocols import DEFAULT

if TYPE_CHECKING:
    from recipes.core.config import ServerConfig


def store_settings(directory: Path) -> "ServerConfig":
    """The same fields as a `ServerConfig`; a test compares them."""
    chosen = SimpleNamespace(
        data_dir=directory,
        client_port=None,  # a Unix socket only
        tick_time_ms=500,
        max_session_timeout_ms=60_000,
        pre_alloc_size_kb=1024,
        session_secret_file=directory / "secret",
        purge_interval_hours=1,
    )
    return cast("ServerConfig", SimpleNamespace(**_DEFAULTS | vars(chosen) | {"session_timeouts_ms": (1000, 60_000)}))


_DEFAULTS: dict[str, object] = {
    "data_log_dir": None,
    "client_address": "127.0.0.1",
    "secure_client_port": None,
    "secure_client_address": "127.0.0.1",
    "sessionless_timeout_ms": 10000,
    "min_session_timeout_ms": -1,
    "max_connections_per_ip": 60,
    "max_connections": 0,
    "snap_count": 100000,
    "snap_size_limit_kb": 4 << 20,
    "log_size_limit_kb": 0,
    "store_limit_mb": None,
    "max_watches": 1_000_000,
    "force_sync": True,
    "snap_retain_count": 3,
    "four_letter_whitelist": ("srvr",),
    "extended_types": False,
    "enforce_quota": False,
    "super_digest": None,
    "session_secret": "zookeeper",
    "max_frame_bytes": 0xFFFFF,
    "container_check_ms": 60000,
    "container_max_per_check": 10000,
    "container_never_used_ms": 0,
    "create_directories": True,
    "trust_empty_database": True,
    "trust_missing_snapshot": False,
    "skip_acl": False,
    "client_port_unification": False,
    "membership": None,
    "replication": DEFAULT,
    "server_id": None,
    "read_only_mode": False,
    "leader_serves": True,
    "admin_enabled": False,
    "metrics_port": None,
    "source_text": None,
}
