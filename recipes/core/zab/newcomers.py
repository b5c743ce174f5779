"""Second connections to a leader, in the name of one server: no member has proven yet that they are its own.

Whoever reaches the quorum port can say that it is a member. So a connection that speaks for a server must not displace
one on which that server has acted.
"""

from typing import NamedTuple

from recipes.core.zab.progress import LearnerProgress
from recipes.core.zab.stages import ProgressStage


class _Newcomer(NamedTuple):
    learner: LearnerProgress
    since_ms: int


class Newcomers:
    """The second connection of a server waits here, while its first one may still be alive.

    A server that has connected anew has closed its first connection, or has restarted: then the first one breaks as
    soon as something is sent over it. If the first one is heard from instead, the second one is a stranger's.
    """

    __slots__ = ("_by_sid", "_patience_ms", "_sync_ms")

    def __init__(self, tick_ms: int, sync_limit: int) -> None:
        self._patience_ms = tick_ms
        self._sync_ms = tick_ms * sync_limit
        self._by_sid: dict[int, _Newcomer] = {}

    def wait(self, learner: LearnerProgress, first: LearnerProgress, zxid: int, now_ms: int) -> None:
        """A server that has a connection, `first`, has introduced itself on another one. zxid: for a ping."""
        before = self._by_sid.pop(learner.sid, None)
        self._by_sid[learner.sid] = _Newcomer(learner, now_ms)
        if before is not None:
            before.learner.link.close("it has made a new connection")
        first.ping(zxid)

    def gone(self, learner: LearnerProgress) -> None:
        """A connection is closed."""
        newcomer = self._by_sid.get(learner.sid)
        if newcomer is not None and newcomer.learner is learner:
            del self._by_sid[learner.sid]

    def next(self, sid: int) -> LearnerProgress | None:
        """The first connection of `sid` is closed: the one that takes its place."""
        newcomer = self._by_sid.pop(sid, None)
        return None if newcomer is None else newcomer.learner

    def settle(self, first_of: dict[int, LearnerProgress], now_ms: int) -> None:
        """Close the second connection where the first one was heard from, the first one where it is silent."""
        for sid, (learner, since_ms) in list(self._by_sid.items()):
            first = first_of[sid]
            # Before UPTODATE nobody answers a ping, and a learner that writes a large tree says nothing for long.
            limit_ms = self._patience_ms if first.stage is ProgressStage.UP_TO_DATE else self._sync_ms
            if first.link.heard_ms > since_ms:
                learner.link.close(f"server {sid} has another connection, which is alive")
            elif now_ms - since_ms >= limit_ms:
                first.link.close(f"it was silent for {limit_ms} ms, and has made a new connection")
