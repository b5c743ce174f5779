"""Voters that will not join the leader they seemed to have elected."""

from recipes.core.jute.votes import FOLLOWING, LEADING, LOOKING, Notification
from recipes.core.quorum import Membership


class Absentees:
    """The absent voters of leader `sid`, elected in `round_number` at `elected_ms`, until a quorum has joined it.

    A voter is absent if its last notification says that it
    - leads, or follows another leader;
    - looks for a leader in a later round; or
    - still looks for a leader a tick after the election: it never heard of this leader.
    No absent voter can join by itself: it joins an existing leader only if a quorum says that it follows that leader.
    So if the other voters are no quorum, all of them would wait for the whole of initLimit. ZooKeeper's do.
    """

    __slots__ = ("_absent", "_late_ms", "_membership", "_round", "_sid")

    def __init__(self, sid: int, membership: Membership, round_number: int, elected_ms: int, tick_ms: int) -> None:
        self._sid = sid
        self._membership = membership
        self._round = round_number
        self._late_ms = elected_ms + tick_ms
        self._absent: set[int] = set()

    def leave_quorum(self, sid: int, note: Notification, now_ms: int) -> bool:
        """Whether, after this notification from a voter, the voters that are not absent are still a quorum."""
        if note.state == LOOKING:
            absent = note.round > self._round or now_ms >= self._late_ms
        else:
            absent = note.state in (FOLLOWING, LEADING) and note.leader != self._sid
        if absent:
            self._absent.add(sid)
        else:
            self._absent.discard(sid)
        return self._membership.is_quorum([voter for voter in self._membership.voters if voter not in self._absent])
