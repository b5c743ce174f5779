"""Bugs in whose session lives."""

from collections.abc import Generator
from typing import Any
from weakref import WeakKeyDictionary

from recipes.core.jute import opcodes as op
from recipes.core.jute import quorum as q
from recipes.core.member.connection import Connection
from recipes.core.member.leading import Leading
from recipes.core.member.member import Member
from recipes.core.tree.pending import Pending
from recipes.core.tree.prepare import Preparer
from recipes.core.tree.request import Request
from recipes.core.tree.sessions import SessionTracker
from recipes.core.tree.tree import DataTree
from recipes.core.zab.peer import ZabPeer
from tests.simulation.planted.bug import Patch, before, planted


@planted(2, "E1")
def session_expired_by_a_follower(patch: Patch) -> None:
    """It ends whom it does not hear from any more, and the leader, which may know better, takes its word."""
    tick, take_request = Member.tick, Leading.take_request
    ends_ms: WeakKeyDictionary[Member, dict[int, int]] = WeakKeyDictionary()

    def hear(self: Member, connection: Connection) -> None:
        ends_ms.setdefault(self, {})[connection.session_id] = self.now_ms + connection.timeout_ms

    def tick_and_expire(self: Member) -> None:
        tick(self)
        learner, ends = self._replica.learner, ends_ms.get(self, {})
        for session_id in [session_id for session_id, end_ms in ends.items() if end_ms <= self.now_ms]:
            del ends[session_id]
            if self.serving and learner is not None:
                learner.forward(session_id, 0, op.CLOSE_SESSION, b"", ())

    def take(self: Leading, event: Any, now_ms: int, wall_ms: int) -> None:
        if event.kind == op.CLOSE_SESSION and event.cxid == 0:
            self.propose(Request(event.session_id, 0, op.CLOSE_SESSION, b"", link=None), wall_ms)
        else:
            take_request(self, event, now_ms, wall_ms)

    before(patch, Member, "keep_session_alive", hear)
    patch.setattr(Member, "tick", tick_and_expire)
    patch.setattr(Leading, "take_request", take)


@planted(2, "E1")
def leader_does_not_hear_of_learners_sessions(patch: Patch) -> None:
    patch.setattr(q, "decode_touches", lambda data: [])


@planted(33, "E4", kinds=("partition", "isolation"))
def learner_answers_pings_whatever_it_hears_of_its_leader(patch: Patch) -> None:
    """As in ZooKeeper, until its syncLimit is over."""
    patch.setattr(ZabPeer, "in_touch", lambda self, timeout_ms: True)


@planted(7, "E1")
def sessions_end_by_the_wall_clock(patch: Patch) -> None:
    ahead_ms: dict[int, int] = {}  # by the tracker's id
    touch, expired = SessionTracker.touch, SessionTracker.expired

    def begin(self: Member, now_ms: int, wall_ms: int) -> None:
        ahead_ms[id(self.tracker)] = wall_ms - now_ms

    def touch_by_wall(self: SessionTracker, session_id: int, now_ms: int) -> None:
        touch(self, session_id, now_ms + ahead_ms.get(id(self), 0))

    def expired_by_wall(self: SessionTracker, now_ms: int, most: int) -> list[int]:
        return expired(self, now_ms + ahead_ms.get(id(self), 0), most)

    before(patch, Member, "begin_turn", begin)
    patch.setattr(SessionTracker, "touch", touch_by_wall)
    patch.setattr(SessionTracker, "expired", expired_by_wall)


@planted(1, "E3")
def ephemerals_outlive_their_session(patch: Patch) -> None:
    patch.setattr(Preparer, "_close_session", _close_without_paths)
    patch.setattr(DataTree, "_end_session", lambda self, end, *rest: self.sessions.pop(end.session_id, None))


def _close_without_paths(self: Preparer, request: Request, zxid: int) -> Generator[int, None, Any]:
    yield from ()
    return ((),)


@planted(1, "E3")
def ephemeral_created_for_a_session_that_is_over(patch: Patch) -> None:
    patch.setattr(Preparer, "_check_session", lambda self, request: None)


@planted(102, "C5", kinds=("delay", "slow disk"))
def moved_session_keeps_its_old_connection(patch: Patch) -> None:
    patch.setattr(SessionTracker, "has_moved", lambda self, session_id, link: False)


@planted(3, "Z13")
def closing_overlooks_what_is_under_way(patch: Patch) -> None:
    """Our own, found by the simulation: a znode deleted and made anew as an ephemeral one was left out."""

    def owned_by(self: Pending, session_id: int) -> list[bytes]:
        return [path for path in self._tree.ephemerals.get(session_id, ()) if self.find(path) is not None]

    patch.setattr(Pending, "owned_by", owned_by)


@planted(1, "L1")
def session_never_ends(patch: Patch) -> None:
    patch.setattr(SessionTracker, "expired", lambda self, now_ms, most: [])
