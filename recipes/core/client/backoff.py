"""How long to wait between attempts."""

from collections.abc import Iterator
from random import Random


def pauses(random: Random, *, shortest: float, longest: float, factor: float) -> Iterator[float]:
    """Seconds to wait before each next attempt: a random part of a limit that grows from `shortest` to `longest`.

    random: the client's own, so that a run with a seed repeats. The random part keeps clients from coming back all at
    once (Exponential Backoff And Jitter, AWS Architecture Blog, 2015: full jitter).
    """
    limit = shortest
    while True:
        yield random.uniform(0, limit)
        limit = min(limit * factor, longest)
