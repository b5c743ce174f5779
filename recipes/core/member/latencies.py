"""How long the requests of one client waited for their answers."""


class Latencies:
    """Of one connection, in ms. A request that is answered in the turn in which it came counts as 0."""

    __slots__ = ("_last_ms", "_last_xid", "_total_ms", "most_ms")

    def __init__(self) -> None:
        self._last_ms = 0
        self._last_xid: int | None = None
        self._total_ms = 0
        self.most_ms: int = 0

    def count(self, latency_ms: int, xid: int) -> None:
        """A request waited."""
        self._last_ms, self._last_xid = latency_ms, xid
        self._total_ms += latency_ms
        if latency_ms > self.most_ms:
            self.most_ms = latency_ms

    def of(self, xid: int) -> int:
        """How long this request waited, if it is the last that did; else 0."""
        return self._last_ms if self._last_xid == xid else 0

    def mean_ms(self, answers: int) -> int:
        """The mean of this many requests."""
        return self._total_ms // answers if answers else 0
