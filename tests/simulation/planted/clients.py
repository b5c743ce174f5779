"""Bugs in what clients see."""

from typing import Any

from recipes.core.jute import quorum as q
from recipes.core.member import reads
from recipes.core.member.connection import Connection
from recipes.core.member.leading import Leading
from recipes.core.member.member import Member
from recipes.core.tree.prepare import Preparer
from recipes.core.zab.answers import Answers
from recipes.core.zab.learner import Learner
from tests.simulation.planted.bug import Patch, planted


@planted(1)
def sync_answered_by_the_learner(patch: Patch) -> None:
    patch.setattr(Learner, "sync", lambda self, token, *request: self._peer.synced(token))


def sync_answered_without_asking_a_quorum(patch: Patch) -> None:
    """As in ZooKeeper, ZOOKEEPER-1675. So rare that a story finds it, not a seed: see test_scenarios.py."""

    def answer(self: Answers) -> None:
        while self._syncs:
            _, _, link, token = self._syncs.popleft()
            if link is None:
                self._peer.synced(token)
            elif link in self._handlers:
                self._handlers[link].send(q.SYNC, 0)

    patch.setattr(Answers, "pinged", answer)


@planted(1)
def read_overtakes_the_own_write(patch: Patch) -> None:
    original = Connection._take

    def take(self: Connection, xid: int, kind: int, body: bytes, ids: Any) -> None:
        if kind in reads.READS and kind != 11:
            self._answer(xid, kind, body, ids)
        else:
            original(self, xid, kind, body, ids)

    patch.setattr(Connection, "_take", take)


@planted(1)
def write_overtakes_a_sync(patch: Patch) -> None:
    original = Connection._take

    def take(self: Connection, xid: int, kind: int, body: bytes, ids: Any) -> None:
        self._syncing = False
        original(self, xid, kind, body, ids)

    patch.setattr(Connection, "_take", take)


@planted(1)
def event_behind_the_reply(patch: Patch) -> None:
    deliver, advance = Member._deliver, Member._advance

    def advance_then_deliver(self: Member) -> None:
        advance(self)
        deliver(self)

    patch.setattr(Member, "_deliver", lambda self: None)
    patch.setattr(Member, "_advance", advance_then_deliver)


@planted(1)
def watches_are_lost_on_reconnecting(patch: Patch) -> None:
    patch.setitem(reads.READS, 101, lambda tree, asker, ids, body: b"")


@planted(1)
def set_watches_ignores_what_was_missed(patch: Patch) -> None:
    def restore(tree: Any, asker: Any, ids: Any, zxid: int, data: Any, exist: Any, child: Any) -> None:
        for path in (*data, *exist):
            tree.watches.add_data(path, asker)
        for path in child:
            tree.watches.add_child(path, asker)

    patch.setattr(reads, "_restore", restore)


@planted(1, kinds=("slow disk",))
def client_goes_back_in_time(patch: Patch) -> None:
    original = Member.open_session

    def open_session(self: Member, connection: Connection, asked: Any) -> None:
        original(self, connection, asked._replace(last_zxid=0))

    patch.setattr(Member, "open_session", open_session)


@planted(1)
def multi_is_not_rolled_back(patch: Patch) -> None:
    original = Preparer._multi

    def multi(self: Preparer, *args: Any) -> Any:
        record = original(self, *args)
        if any(kind == -1 for kind, _ in record):
            self.pending.digest += 1
        return record

    patch.setattr(Preparer, "_multi", multi)


@planted(1)
def forwarded_write_is_carried_out_twice(patch: Patch) -> None:
    original = Leading._take_request

    def take(self: Leading, event: Any, now_ms: int, wall_ms: int) -> None:
        original(self, event, now_ms, wall_ms)
        if event.cxid % 16 == 7:
            original(self, event, now_ms, wall_ms)

    patch.setattr(Leading, "_take_request", take)
