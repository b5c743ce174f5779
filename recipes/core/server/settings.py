"""Builds a Member's configuration from the server's, with the settings that `conf` and `envi` report."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.core.disk.cells import read_cells, write_cell
from recipes.core.disk.disk import Disk
from recipes.core.errors import ConfigError
from recipes.core.member.config import MemberConfig
from recipes.core.replication import SECRET_CELL
from recipes.core.server.memory import default_limit_bytes

if TYPE_CHECKING:
    from recipes.core.config import ServerConfig


def own_secret(config: "ServerConfig", snapshots: Disk) -> bytes:
    """The stored secret of sessionSecret=own, which a server alone makes first; empty without that or one."""
    if config.session_secret != "own":
        return b""
    stored = read_cells(snapshots, (SECRET_CELL,)).get(SECRET_CELL, b"")
    if not stored and config.membership is None:
        stored = new_secret()
        write_cell(snapshots, SECRET_CELL, stored)
    return stored


def new_secret() -> bytes:
    """A secret that nobody can guess."""
    return os.urandom(32).hex().encode()


def member_config(config: "ServerConfig", secret: bytes = b"") -> MemberConfig:
    """The member's configuration, with the settings that it reports to operators. secret: see `own_secret`.

    Raises ConfigError for an empty sessionSecretFile, OSError for one that cannot be read.
    """
    low, high = config.session_timeouts_ms
    return MemberConfig(
        tick_ms=config.tick_time_ms,
        min_session_timeout_ms=low,
        max_session_timeout_ms=high,
        server_id=1 if config.server_id is None else config.server_id,
        max_frame_bytes=config.max_frame_bytes,
        extended_types=config.extended_types,
        enforce_quota=config.enforce_quota,
        skip_acl=config.skip_acl,
        super_digest=config.super_digest.encode() if config.super_digest else None,
        session_secret=secret or _session_secret(config.session_secret_file),
        shares_secret=config.session_secret == "own",
        four_letter_whitelist=config.four_letter_whitelist,
        container_check_ms=config.container_check_ms,
        container_max_per_check=config.container_max_per_check,
        container_never_used_ms=config.container_never_used_ms,
        store_limit_bytes=(default_limit_bytes() if config.store_limit_mb is None else config.store_limit_mb << 20),
        max_watches=config.max_watches,
        read_only_mode=config.read_only_mode,
        leader_serves=config.leader_serves,
        ensemble=config.membership.config_text() if config.membership is not None else b"",
        settings=(
            ("clientPort", str(-1 if config.client_port is None else config.client_port)),
            ("secureClientPort", str(-1 if config.secure_client_port is None else config.secure_client_port)),
            ("dataDir", str((config.data_dir / "version-2").absolute())),
            ("dataLogDir", str(((config.data_log_dir or config.data_dir) / "version-2").absolute())),
            ("tickTime", str(config.tick_time_ms)),
            ("maxClientCnxns", str(config.max_connections_per_ip)),
            ("minSessionTimeout", str(low)),
            ("maxSessionTimeout", str(high)),
            ("clientPortListenBacklog", "-1"),
            ("serverId", str(config.server_id or 0)),
            *_ensemble_settings(config),
        ),
        environment=_environment(),
    )


def _session_secret(path: Path | None) -> bytes | None:
    if path is None:
        return None
    secret = path.read_bytes().strip()
    if not secret:  # an empty secret is no secret
        raise ConfigError("sessionSecretFile", path, "a file with a secret: it is empty")
    return secret


def _ensemble_settings(config: "ServerConfig") -> tuple[tuple[str, str], ...]:
    membership, sid = config.membership, config.server_id
    if membership is None or sid is None:
        return ()
    server = membership.servers[sid]
    return (
        ("initLimit", str(config.init_limit)),
        ("syncLimit", str(config.sync_limit)),
        ("electionAlg", "3"),
        ("electionPort", str(server.election_port)),
        ("quorumPort", str(server.quorum_port)),
        ("peerType", str(int(server.observer))),
        *((line.partition("=")[0], line.partition("=")[2]) for line in membership.config_text().decode().splitlines()),
    )


def _environment() -> tuple[tuple[str, str], ...]:
    """The lines of the four-letter word `envi`, under ZooKeeper's names where these apply."""
    system = os.uname()
    return (
        ("host.name", system.nodename),
        ("python.version", sys.version.partition(" ")[0]),
        ("os.name", system.sysname),
        ("os.arch", system.machine),
        ("os.version", system.release),
        ("user.dir", str(Path.cwd())),
    )
