"""A follower of ZAB whose link does not keep the order."""

from typing import ClassVar

from recipes.core.jute import quorum as q
from recipes.core.jute.quorum import Packet
from recipes.core.link import Link
from recipes.core.zab.learner import Learner
from recipes.core.zab.peer import ZabPeer
from recipes.core.zab.stages import LearnerStage


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


class ReorderedPeer(ZabPeer):
    """A server whose link from its leader does not keep the order of COMMITs."""

    learner_class: ClassVar[type[Learner]] = ReorderingLearner
