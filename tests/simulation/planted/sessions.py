"""Bugs in whose session lives."""

from typing import Any

from recipes.core.jute import quorum as q
from recipes.core.member.member import Member
from recipes.core.tree.pending import Pending
from recipes.core.tree.prepare import Preparer
from recipes.core.tree.sessions import SessionTracker
from recipes.core.tree.tree import DataTree
from recipes.core.zab.peer import ZabPeer
from tests.simulation.planted.bug import Patch, planted


@planted(2)
def leader_does_not_hear_of_learners_sessions(patch: Patch) -> None:
    patch.setattr(q, "decode_touches", lambda data: [])


@planted(26, kinds=("partition", "isolation"))
def learner_answers_pings_whatever_it_hears_of_its_leader(patch: Patch) -> None:
    """As in ZooKeeper, until its syncLimit is over."""
    patch.setattr(ZabPeer, "in_touch", lambda self, timeout_ms: True)


@planted(7)
def sessions_end_by_the_wall_clock(patch: Patch) -> None:
    def begin(self: Member, now_ms: int, wall_ms: int) -> None:
        self.now_ms = self.wall_ms = wall_ms

    patch.setattr(Member, "begin_turn", begin)


@planted(1)
def ephemerals_outlive_their_session(patch: Patch) -> None:
    patch.setattr(Preparer, "_close_session", _close_without_paths)
    patch.setattr(DataTree, "_close_session", lambda self, session_id, *rest: self.sessions.pop(session_id, None))


def _close_without_paths(self: Preparer, session_id: int, zxid: int) -> Any:
    return ((),)


@planted(1)
def ephemeral_created_for_a_session_that_is_over(patch: Patch) -> None:
    patch.setattr(Preparer, "_check_session", lambda self, request: None)


@planted(3, kinds=("delay", "slow disk"))
def moved_session_keeps_its_old_connection(patch: Patch) -> None:
    patch.setattr(SessionTracker, "has_moved", lambda self, session_id, link: False)


@planted(3)
def closing_overlooks_what_is_under_way(patch: Patch) -> None:
    """Our own, found by the simulation: a znode deleted and made anew as an ephemeral one was left out."""

    def owned_by(self: Pending, session_id: int) -> list[bytes]:
        return [path for path in self._tree.ephemerals.get(session_id, ()) if self.find(path) is not None]

    patch.setattr(Pending, "owned_by", owned_by)


@planted(1)
def session_never_ends(patch: Patch) -> None:
    patch.setattr(SessionTracker, "expired", lambda self, now_ms: [])
