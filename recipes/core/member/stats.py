"""Counters for those who look after the server."""


class Stats:
    """What a member has counted since it started, or since `srst`."""

    __slots__ = (
        "auth_failed", "digest_mismatches", "latency_count", "latency_max_ms", "latency_min_ms", "latency_total_ms",
        "packets_received", "packets_sent", "sessions_expired",
    )  # fmt: skip

    def __init__(self) -> None:
        self.auth_failed = self.sessions_expired = self.digest_mismatches = 0
        self.reset()

    def reset(self) -> None:
        """Start the counts of packets and latency anew."""
        self.packets_received = self.packets_sent = 0
        self.latency_count = self.latency_max_ms = self.latency_min_ms = self.latency_total_ms = 0

    def answered(self, latency_ms: int) -> None:
        """A reply left, so many ms after its request came."""
        self.packets_sent += 1
        self.latency_count += 1
        if latency_ms:
            self.latency_total_ms += latency_ms
            if latency_ms > self.latency_max_ms:
                self.latency_max_ms = latency_ms
