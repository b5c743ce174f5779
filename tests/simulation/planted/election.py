"""Bugs in who leads, and what is committed."""

from recipes.core.jute import quorum as q
from recipes.core.quorum import Membership
from recipes.core.zab.election import Election
from recipes.core.zab.leader import Leader
from recipes.core.zab.learner import Learner
from recipes.core.zab.stages import LeaderStage, ProgressStage
from tests.simulation.planted.bug import Patch, planted


@planted(1, "Z11")
def committed_without_a_quorum(patch: Patch) -> None:
    patch.setattr(Membership, "committed", lambda self, held: max(held.values()))


@planted(4, "Z1", 5, 1, kinds=("partition",))
def observers_are_counted(patch: Patch) -> None:
    patch.setattr(Membership, "is_quorum", lambda self, sids: len(set(sids)) > len(self.voters) // 2)


@planted(3, "L1")
def election_by_zxid_without_epoch(patch: Patch) -> None:
    patch.setattr(Election, "_rank", lambda self, vote: (True, 0, vote.zxid & 0xFFFFFFFF, vote.leader))


@planted(1, "Z9")
def election_by_accepted_epoch(patch: Patch) -> None:
    original = Election.look

    def look(self: Election, last_zxid: int, current_epoch: int, now_ms: int) -> None:
        original(self, last_zxid, current_epoch + 1, now_ms)

    patch.setattr(Election, "look", look)


@planted(1, "Z1")
def established_without_a_quorum_of_new_leader(patch: Patch) -> None:
    patch.setattr(Leader, "_alive", lambda self: set(self._by_sid) | {self._peer.settings.sid})


@planted(1, "Z1")
def entry_of_an_earlier_epoch_is_counted_by_replicas(patch: Patch) -> None:
    """Figure 8 of Raft: that a quorum has the entries is enough, whatever epoch it may still go back to."""

    not_ready = (ProgressStage.INTRODUCED, ProgressStage.OFFERED)

    def holding(self: Leader) -> set[int]:
        ready = [learner for learner in self._by_sid.values() if learner.stage not in not_ready]
        return _alive(self) | {learner.sid for learner in ready if learner.last_zxid == self._initial_zxid}

    patch.setattr(Leader, "_alive", holding)


@planted(1, "Z10")
def epoch_below_the_promised_one_is_followed(patch: Patch) -> None:
    original = Learner._accept_epoch

    def accept(self: Learner, packet: q.Packet) -> None:
        accepted, self._peer.accepted_epoch = self._peer.accepted_epoch, 0
        original(self, packet)
        self._peer.accepted_epoch = accepted

    patch.setattr(Learner, "_accept_epoch", accept)


@planted(1, "L1")
def leader_stays_without_a_quorum(patch: Patch) -> None:
    def alive(self: Leader) -> set[int]:
        return set(self._membership.voters) if self.stage is LeaderStage.BROADCASTING else _alive(self)

    patch.setattr(Leader, "_alive", alive)


_alive = Leader._alive
