"""ZAB with parts that are not as served: a peer that takes others, a follower whose link does not keep the order."""

from recipes.core.jute import quorum as q
from recipes.core.jute.quorum import Packet
from recipes.core.jute.votes import LEADING
from recipes.core.link import Link
from recipes.core.replication import ReplicaSettings
from recipes.core.zab.absentees import Absentees
from recipes.core.zab.election import Election
from recipes.core.zab.leader import Leader
from recipes.core.zab.learner import Learner
from recipes.core.zab.peer import RecoveredState, ZabPeer
from recipes.core.zab.stages import LearnerStage


class Parts(ZabPeer):
    """A peer whose parts may be replaced."""

    leader: Leader | None
    learner: Learner | None
    leader_class: type[Leader] = Leader
    learner_class: type[Learner] = Learner
    election_class: type[Election] = Election

    def __init__(self, settings: ReplicaSettings, recovered: RecoveredState, now_ms: int) -> None:
        super().__init__(settings, recovered, now_ms)
        self._election = self.election_class(settings.sid, settings.membership, settings.observer)
        self._look_when_drained()

    def _follow_election(self) -> None:
        election = self._election
        if self._phase is not None or election.vote is None:
            return
        if election.state == LEADING:
            settings = self.settings
            self._absentees = Absentees(
                settings.sid, settings.membership, election.vote.round, self.now_ms, settings.tick_ms
            )
            self.leader = self.leader_class(self)
            self.leader.begin()
        else:
            self.learner = self.learner_class(self, election.vote.leader)


class ReorderingLearner(Learner):
    """A follower whose link lets a COMMIT overtake the one before it. ZAB relies on links that keep the order."""

    def __init__(self, peer: ZabPeer, leader_sid: int) -> None:
        super().__init__(peer, leader_sid)
        self._overtaken: Packet | None = None

    def _receive(self, link: Link[Packet], packet: Packet) -> None:
        overtaken = self._overtaken
        more_follow = self.stage is LearnerStage.SERVING and packet.zxid < self._last_zxid
        if packet.type == q.COMMIT and overtaken is None and more_follow:
            self._overtaken = packet  # until the next COMMIT is there, or anything but a proposal
        elif packet.type == q.PROPOSAL or overtaken is None:
            super()._receive(link, packet)
        else:
            self._overtaken = None
            first, second = (packet, overtaken) if packet.type == q.COMMIT else (overtaken, packet)
            super()._receive(link, first)
            super()._receive(link, second)


class ReorderedPeer(Parts):
    """A server whose link from its leader does not keep the order of COMMITs."""

    learner_class: type[Learner] = ReorderingLearner
