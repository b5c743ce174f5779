"""Requests that an established leader cannot answer at once: `sync`s, and sessions that move to an observer."""

from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from recipes.core.jute import quorum as q
from recipes.core.zab.progress import LearnerProgress
from recipes.core.zab.stages import ProgressStage

if TYPE_CHECKING:
    from recipes.core.zab.peer import ZabPeer

_UP_TO_DATE: Final = ProgressStage.UP_TO_DATE


class _Sync(NamedTuple):
    """zxid: the last one proposed when it was asked for. awaited: by key of a voter's link, how many pings that voter
    must have answered. link: of the learner that asks; None: this server asks, with `token`.
    """

    zxid: int
    awaited: dict[int, int]
    link: int | None
    token: Any


class PendingSyncs:
    """Keeps each request until it can be answered. learners: the leader's, by key of their links."""

    def __init__(self, peer: "ZabPeer", learners: dict[int, LearnerProgress]) -> None:
        self._peer = peer
        self._learners = learners
        self._committed_zxid = -1
        self._syncs: deque[_Sync] = deque()
        self._round: tuple[int, dict[int, int]] = (-1, {})  # turn of the last ping round; answers it awaits
        self._returned: deque[tuple[int, LearnerProgress, bytes]] = deque()

    def __len__(self) -> int:
        """How many `sync`s are not answered yet."""
        return len(self._syncs)

    def sync(self, last_zxid: int, link: int | None, token: object) -> None:
        """Answer once everything proposed by now is committed and a quorum has shown that it still follows.

        This costs a ping round, but no zxid. Without the round, a leader that has been replaced and does not know it
        yet would answer with outdated data.
        """
        if self._round[0] != self._peer.turn:
            voters = [learner for learner in self._learners.values() if learner.voter and learner.stage is _UP_TO_DATE]
            for learner in voters:
                learner.ping(last_zxid)
            self._round = self._peer.turn, {learner.link.key: learner.pings_sent for learner in voters}
        self._syncs.append(_Sync(last_zxid, self._round[1], link, token))
        self.pinged()

    def revalidated(self, last_zxid: int, learner: LearnerProgress, answer: bytes) -> None:
        """Answer an observer once everything proposed by now is committed.

        An observer receives an entry only once it is committed. Answered earlier, it could take a txn that the session
        sent through another server for a new request of the session with the same cxid.
        """
        self._returned.append((last_zxid, learner, answer))
        self._give_back()

    def committed(self, zxid: int) -> None:
        """A quorum has everything up to `zxid`."""
        self._committed_zxid = zxid
        self.pinged()
        self._give_back()

    def pinged(self) -> None:
        """A learner has answered a ping, or more is committed: answer the `sync`s that this completes."""
        syncs, peer = self._syncs, self._peer
        while syncs and syncs[0].zxid <= self._committed_zxid:
            _, awaited, link, token = syncs[0]
            # A voter that has joined since must have answered a ping too: the packets it joined with may be old.
            answered = {
                learner.sid
                for learner in self._learners.values()
                if learner.stage is _UP_TO_DATE and learner.pings_answered >= awaited.get(learner.link.key, 1)
            }
            if not peer.settings.membership.is_quorum(answered | {peer.settings.sid}):
                return
            syncs.popleft()
            if link is None:
                peer.synced(token)
            elif link in self._learners:
                self._learners[link].send(q.SYNC, 0)

    def _give_back(self) -> None:
        while self._returned and self._returned[0][0] <= self._committed_zxid:
            _, learner, answer = self._returned.popleft()
            learner.send(q.REVALIDATE, -1, answer)
