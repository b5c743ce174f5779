"""How often a leader gives way for a server that can only join a later term.

Nobody has to prove in which term it is, where the ports between servers have no TLS: so a leader gives way once, and
from then on after longer and longer pauses. A member that needs it a second time soon, since it was cut off again just
as it stood, waits for the first pause only.
"""

from typing import Final

FIRST_PAUSE_TICKS: Final = 200
MOST_PAUSE_TICKS: Final = 1600


class GivingWay:
    """For which servers this one has given way as a leader, and when. tick_ms: length of a tick."""

    __slots__ = ("_given", "_tick_ms")

    def __init__(self, tick_ms: int) -> None:
        self._tick_ms = tick_ms
        self._given: dict[int, tuple[int, int]] = {}  # sid -> when, and the pause behind that, both in ms

    def may(self, sid: int, now_ms: int) -> bool:
        """Whether this server may give way for `sid` now."""
        when_ms, pause_ms = self._given.get(sid, (now_ms, 0))
        return now_ms - when_ms >= pause_ms

    def gave_way(self, sid: int, now_ms: int) -> None:
        """This server gives way for `sid`. Each pause is twice as long as the one before, up to the longest."""
        _, pause_ms = self._given.get(sid, (0, 0))
        longer_ms = min(max(2 * pause_ms, FIRST_PAUSE_TICKS * self._tick_ms), MOST_PAUSE_TICKS * self._tick_ms)
        self._given[sid] = now_ms, longer_ms
