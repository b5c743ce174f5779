"""A summary of many values in little memory: count, sum, extremes and percentiles."""

from typing import Final

_EXACT_BITS: Final = 7  # smaller values have a bucket each; larger ones are in steps of less than 2 %
_STEPS_BITS: Final = _EXACT_BITS - 1


class Summary:
    """Values since the start or the last `reset`. They are whole numbers from 0 on: ms, bytes or counts.

    Source of the names under which operators see them: org.apache.zookeeper.metrics.Summary.
    """

    __slots__ = ("_buckets", "count", "least", "most", "total")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self.count: int = 0
        self.total: int = 0
        self.least: int = 0
        self.most: int = 0
        self._buckets: dict[int, int] = {}

    def add(self, value: int, times: int = 1) -> None:
        """Count a value, `times` times. A negative one, as of a clock that was set back, counts as 0."""
        if value < 0:
            value = 0
        if not self.count or value < self.least:
            self.least = value
        if value > self.most:
            self.most = value
        self.count += times
        self.total += value * times
        bucket = _bucket(value)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + times

    def completed(self, count: int, total: int = 0, rest: int = 0) -> "Summary":
        """A copy with as many values more as are missing to `count`, each of them `rest`, and a sum of at least
        `total`."""
        made = self.merged(Summary())
        if count > self.count:
            made.add(rest, count - self.count)
        made.total = max(made.total, total)
        return made

    def merged(self, other: "Summary") -> "Summary":
        """A summary of the values of both."""
        made = Summary()
        made.count, made.total = self.count + other.count, self.total + other.total
        made.least = min([each.least for each in (self, other) if each.count], default=0)
        made.most = max(self.most, other.most)
        made._buckets = dict(self._buckets)
        for bucket, count in other._buckets.items():
            made._buckets[bucket] = made._buckets.get(bucket, 0) + count
        return made

    @property
    def average(self) -> float:
        """The mean, rounded as Java prints it."""
        return round(self.total / self.count, 4) if self.count else 0.0

    def percentile(self, share: float) -> int:
        """A value that `share` of all values do not exceed, at most 2 % too low; 0 without values. share: 0 to 1."""
        left = share * self.count
        found = 0
        for bucket in sorted(self._buckets):
            found = _lowest(bucket)
            left -= self._buckets[bucket]
            if left <= 0:
                break
        return max(found, self.least)


def _bucket(value: int) -> int:
    over = value.bit_length() - _EXACT_BITS
    return value if over <= 0 else (over << _STEPS_BITS) + (value >> over)


def _lowest(bucket: int) -> int:
    over = (bucket >> _STEPS_BITS) - 1
    if over <= 0:
        return bucket
    return (bucket - (over << _STEPS_BITS)) << over
