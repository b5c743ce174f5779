"""Voters that will not come to a leader they were thought to have elected."""

from recipes.core.jute.votes import FOLLOWING, LEADING, LOOKING, Notification
from recipes.core.zab.membership import Membership


class Absentees:
    """Of a leader `sid` elected in `round_number` at `elected_ms`, until a quorum has joined it.

    A voter that follows another has gone there. One that looks for a leader in a later round has left, and one that
    still looks after a tick has never heard of this one. None of them can come by itself: a vote for a leader that
    exists counts only along with a quorum that follows it. So where they leave no quorum, all would wait until the
    time to join, initLimit, is over. ZooKeeper does.
    """

    __slots__ = ("_absent", "_late_ms", "_membership", "_round", "_sid")

    def __init__(self, sid: int, membership: Membership, round_number: int, elected_ms: int, tick_ms: int) -> None:
        self._sid = sid
        self._membership = membership
        self._round = round_number
        self._late_ms = elected_ms + tick_ms
        self._absent: set[int] = set()

    def leave_quorum(self, sid: int, note: Notification, now_ms: int) -> bool:
        """Whether, after this notification of a voter's, the others can still be a quorum."""
        if note.state == LOOKING:
            absent = note.round > self._round or now_ms >= self._late_ms
        else:
            absent = note.state in (FOLLOWING, LEADING) and note.leader != self._sid
        if absent:
            self._absent.add(sid)
        else:
            self._absent.discard(sid)
        return self._membership.is_quorum([voter for voter in self._membership.voters if voter not in self._absent])
