"""Bugs in what clients see."""

from typing import Any

from recipes.core.jute import opcodes as op
from recipes.core.jute import quorum as q
from recipes.core.member import reads
from recipes.core.member.connection import Connection
from recipes.core.member.handshakes import Handshakes
from recipes.core.member.leading import Leading
from recipes.core.member.member import Member
from recipes.core.tree.prepare import Preparer
from recipes.core.tree.request import Request
from recipes.core.zab.pending_syncs import PendingSyncs
from tests.simulation.planted.bug import Patch, planted


@planted(18, "C2")
def sync_answered_by_the_learner(patch: Patch) -> None:
    original = Connection._take

    def take(self: Connection, xid: int, kind: int, body: bytes, ids: Any) -> None:
        if kind != op.SYNC or self._member._replica.learner is None:
            original(self, xid, kind, body, ids)
        elif self._held:
            self._held.append((xid, kind, body, ids))
        else:
            self._answer(xid, kind, body, ids)

    patch.setattr(Connection, "_take", take)
    patch.setitem(reads.READS, op.SYNC, lambda tree, asker, ids, body: body)


def sync_answered_without_asking_a_quorum(patch: Patch) -> None:
    """As in ZooKeeper, ZOOKEEPER-1675. So rare that a story finds it, not a seed: see test_scenarios.py."""

    def answer(self: PendingSyncs) -> None:
        while self._syncs:
            _, _, link, token = self._syncs.popleft()
            if link is None:
                self._peer.synced(token)
            elif link in self._learners:
                self._learners[link].send(q.SYNC, 0)

    patch.setattr(PendingSyncs, "pinged", answer)


@planted(1, "C5")
def read_overtakes_the_own_write(patch: Patch) -> None:
    original = Connection._take

    def take(self: Connection, xid: int, kind: int, body: bytes, ids: Any) -> None:
        if kind in reads.READS and kind != 11:
            self._answer(xid, kind, body, ids)
        else:
            original(self, xid, kind, body, ids)

    patch.setattr(Connection, "_take", take)


@planted(1, "C5")
def write_overtakes_a_sync(patch: Patch) -> None:
    """It is sent on at once, and answered when it is committed."""
    take, complete = Connection._take, Connection.complete

    def take_at_once(self: Connection, xid: int, kind: int, body: bytes, ids: Any) -> None:
        take(self, xid, kind, body, ids)
        if kind == op.SYNC:
            self._syncing, self._left = False, 1

    def complete_at_once(self: Connection, request: Request, applied: Any) -> None:
        held = self._held
        if request in held:
            held.remove(request)
            held.appendleft(request)
        first = next((at for at, each in enumerate(held) if at and isinstance(each, Request)), len(held))
        begun = [held.pop() for _ in range(len(held) - first)]
        complete(self, request, applied)
        held.extend(reversed(begun))

    patch.setattr(Connection, "_take", take_at_once)
    patch.setattr(Connection, "complete", complete_at_once)


@planted(1, "W1")
def event_behind_the_reply(patch: Patch) -> None:
    deliver, advance = Member._deliver_fired, Member._advance

    def advance_then_deliver(self: Member) -> None:
        advance(self)
        deliver(self)

    patch.setattr(Member, "_deliver_fired", lambda self: None)
    patch.setattr(Member, "_advance", advance_then_deliver)


@planted(1, "W1")
def watches_are_lost_on_reconnecting(patch: Patch) -> None:
    def restore(tree: Any, asker: Any, ids: Any, zxid: int, path: bytes) -> None:
        pass

    for name in ("_restore_data", "_restore_exist", "_restore_child"):
        patch.setattr(reads, name, restore)


@planted(1, "W2")
def set_watches_ignores_what_was_missed(patch: Patch) -> None:
    def restore_data(tree: Any, asker: Any, ids: Any, zxid: int, path: bytes) -> None:
        tree.watches.add_data(path, asker)

    def restore_child(tree: Any, asker: Any, ids: Any, zxid: int, path: bytes) -> None:
        tree.watches.add_child(path, asker)

    patch.setattr(reads, "_restore_data", restore_data)
    patch.setattr(reads, "_restore_exist", restore_data)
    patch.setattr(reads, "_restore_child", restore_child)


@planted(1, "C3", kinds=("slow disk",))
def client_goes_back_in_time(patch: Patch) -> None:
    original = Handshakes.open_session

    def open_session(self: Handshakes, connection: Connection, asked: Any) -> None:
        original(self, connection, asked._replace(last_zxid=0))

    patch.setattr(Handshakes, "open_session", open_session)


@planted(1, "Z13")
def multi_is_not_rolled_back(patch: Patch) -> None:
    original = Preparer._multi

    def multi(self: Preparer, *args: Any) -> Any:
        record = yield from original(self, *args)
        if any(kind == -1 for kind, _ in record):
            self.pending.digest += 1
        return record

    patch.setattr(Preparer, "_multi", multi)


@planted(1, "C8")
def forwarded_write_is_carried_out_twice(patch: Patch) -> None:
    original = Leading.take_request

    def take(self: Leading, event: Any, now_ms: int, wall_ms: int) -> None:
        original(self, event, now_ms, wall_ms)
        if event.cxid % 16 == 7:
            original(self, event, now_ms, wall_ms)

    patch.setattr(Leading, "take_request", take)
