"""The settings of a server that its member needs."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MemberConfig:
    """The settings of a server that its member needs; times in ms, sizes in bytes."""

    tick_ms: int = 3000
    min_session_timeout_ms: int = 6000
    max_session_timeout_ms: int = 60000
    server_id: int = 1
    max_frame_bytes: int = 0xFFFFF
    extended_types: bool = False
    enforce_quota: bool = False
    skip_acl: bool = False
    super_digest: bytes | None = field(default=None, repr=False)
    session_secret: bytes | None = field(default=None, repr=False)
    shares_secret: bool = False  # the members share one; where session_secret is None it comes before any client
    four_letter_whitelist: tuple[str, ...] = ("srvr",)
    container_check_ms: int = 60000
    container_max_per_check: int = 10000
    max_watches: int = 1_000_000  # of one session
    max_watched_bytes: int = 64 << 20  # of the paths that one session watches
    store_limit_bytes: int = 0  # of memory; 0: no limit
    container_never_used_ms: int = 0  # after that a container in which nothing ever was goes too; 0: never
    read_only_mode: bool = False  # without a leader it serves clients that only read
    turn_units: int = 8000  # of about a microsecond, for commits in one turn; costs.py has the prices
    many_ephemerals: int = 1000  # a session with more of them ends in slices
    leader_serves: bool = True  # while it leads an ensemble it accepts clients
    ensemble: bytes = b""  # what /zookeeper/config shows: the servers of the ensemble
    settings: tuple[tuple[str, str], ...] = ()  # as the 4lw `conf` prints them
    environment: tuple[tuple[str, str], ...] = ()  # as the 4lw `envi` prints it
