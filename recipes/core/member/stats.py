"""Counters for operators."""


class Stats:
    """What a member has counted since it started, or since `srst`."""

    __slots__ = (
        "auth_failed", "digest_mismatches", "events_sent", "latency_max_ms", "latency_min_ms", "latency_total_ms",
        "packets_received", "packets_sent", "sessions_expired",
    )  # fmt: skip

    def __init__(self) -> None:
        self.auth_failed: int = 0
        self.sessions_expired: int = 0
        self.digest_mismatches: int = 0
        self.reset()

    def reset(self) -> None:
        """Start the counts of packets and latency anew."""
        self.packets_received: int = 0
        self.packets_sent: int = 0
        self.events_sent: int = 0
        self.latency_max_ms: int = 0
        self.latency_min_ms: int = 0
        self.latency_total_ms: int = 0

    def waited(self, latency_ms: int) -> None:
        """Count a reply that leaves `latency_ms` after its request came. A latency of 0 may be left out."""
        self.latency_total_ms += latency_ms
        if latency_ms > self.latency_max_ms:
            self.latency_max_ms = latency_ms
