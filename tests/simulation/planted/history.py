"""Bugs in what a log takes over from another one."""

from typing import Any

from recipes.core import history
from recipes.core.history import History
from recipes.core.jute import quorum as q
from recipes.core.zab import learner, synchronize
from recipes.core.zab.leader import Leader
from recipes.core.zab.learner import Learner
from recipes.core.zab.peer import ZabPeer
from recipes.core.zab.progress import LearnerProgress
from recipes.core.zab.stages import Event, LearnerStage, ProgressStage
from recipes.core.zab.synchronize import Synchronizer, SyncPlan
from tests.simulation.planted.bug import Patch, before, planted


@planted(1, "Z11", kinds=("isolation", "power cut"))
def old_leaders_tail_is_not_truncated(patch: Patch) -> None:
    original = synchronize.plan_sync

    def plan(history: History, committed_zxid: int, learner_zxid: int, **habits: bool) -> SyncPlan:
        if learner_zxid > committed_zxid:
            return SyncPlan(q.DIFF, learner_zxid)
        return original(history, committed_zxid, learner_zxid, **habits)

    patch.setattr(synchronize, "plan_sync", plan)


@planted(205, "Z7")
def snapshot_without_the_history_of_its_epoch(patch: Patch) -> None:
    """Our own: between such a snapshot and what follows it a learner is without entries that may be committed."""
    original = Leader._start_syncing

    def start(self: Leader) -> None:
        with patch.context() as kept:
            kept.setattr(self._peer, "release", lambda: None)
            original(self)

    patch.setattr(Leader, "_start_syncing", start)
    patch.setattr(synchronize, "invariant", lambda holds, message: None)
    before(patch, ZabPeer, "serve", lambda self, epoch: self.release())


@planted(1, "Z14")
def entry_missing_in_a_diff(patch: Patch) -> None:
    original = History.behind

    def part(self: History, zxid: int) -> list[Any]:
        found = original(self, zxid)
        return found[1:] if len(found) > 1 else found

    patch.setattr(History, "behind", part)
    patch.setattr(learner, "follows", lambda last_zxid, zxid: True)
    patch.setattr(history, "follows", lambda last_zxid, zxid: True)


@planted(82, "Z14", kinds=("reset",))
def proposals_only_to_those_in_sync(patch: Patch) -> None:
    original = LearnerProgress.propose

    def propose(self: LearnerProgress, packet: bytes) -> None:
        if self.stage is ProgressStage.UP_TO_DATE:
            original(self, packet)

    patch.setattr(LearnerProgress, "propose", propose)
    patch.setattr(learner, "follows", lambda last_zxid, zxid: True)
    patch.setattr(history, "follows", lambda last_zxid, zxid: True)


@planted(5, "Z14")
def proposal_twice_while_syncing(patch: Patch) -> None:
    original = Synchronizer._send_history

    def send(self: Synchronizer, learner: LearnerProgress, zxid: int) -> None:
        for entry in self._peer.history.behind(self._peer.committed_zxid):
            if self._peer.serving and not learner.observer:
                learner.send(q.PROPOSAL, entry.zxid, entry.payload)
        original(self, learner, zxid)

    patch.setattr(Synchronizer, "_send_history", send)
    patch.setattr(learner, "follows", lambda last_zxid, zxid: True)
    patch.setattr(history, "follows", lambda last_zxid, zxid: True)


@planted(42, "Z9", kinds=("pause", "isolation"))
def proposals_go_on_after_stepping_down(patch: Patch) -> None:
    original = Leader.propose

    def propose(self: Leader, entry: Any) -> None:
        peer = self._peer
        if peer.leader is None:
            peer.append(entry)
        else:
            original(self, entry)

    patch.setattr(Leader, "propose", propose)


def serving_a_snapshot_before_what_it_shows_is_applied(patch: Patch) -> None:
    """Our own, found by the simulation; a story finds it at once, see test_scenarios.py."""

    def serve(self: Learner) -> None:
        if self.stage is LearnerStage.CATCHING_UP:
            self.happened(Event.APPLIED)

    patch.setattr(Learner, "_try_serving", serve)
