"""Bugs to be planted, each by patching the product's code: what ZooKeeper has had, what we had, and what we feared.

`seed` finds it, in an ensemble of `servers` voters and `observers`, under faults of these `kinds` only where any are
named: some bugs need a rare one often. Without a seed only the hunt in test_planted.py has to find it.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from recipes.core.disk import replace, snapshot, store, txnlog
from recipes.core.disk.store import Store
from recipes.core.disk.txnlog import TxnLog
from recipes.core.jute import quorum as q
from recipes.core.member import reads
from recipes.core.member.connection import Connection
from recipes.core.member.leading import Leading
from recipes.core.member.member import Member
from recipes.core.replication import ACCEPTED_EPOCH, CURRENT_EPOCH, EpochWrite
from recipes.core.tree.prepare import Preparer
from recipes.core.tree.sessions import SessionTracker
from recipes.core.tree.tree import DataTree
from recipes.core.zab import history, learner, synchronize
from recipes.core.zab.answers import Answers
from recipes.core.zab.election import Election
from recipes.core.zab.handler import Handler
from recipes.core.zab.history import History
from recipes.core.zab.leader import Leader
from recipes.core.zab.learner import Learner
from recipes.core.zab.membership import Membership
from recipes.core.zab.peer import ZabPeer
from recipes.core.zab.synchronize import Plan, Synchronizer

Patch = pytest.MonkeyPatch


class Planted(NamedTuple):
    """One bug. plant: patches it in. seed: of a run that finds it, where one is known."""

    name: str
    plant: Callable[[Patch], None]
    seed: int | None
    servers: int = 3
    observers: int = 0
    kinds: tuple[str, ...] = ()


PLANTED: list[Planted] = []


def planted(
    seed: int | None, servers: int = 3, observers: int = 0, kinds: tuple[str, ...] = ()
) -> Callable[[Callable[[Patch], None]], None]:
    def add(plant: Callable[[Patch], None]) -> None:
        PLANTED.append(Planted(plant.__name__, plant, seed, servers, observers, kinds))

    return add


def before(patch: Patch, owner: Any, name: str, extra: Callable[..., object]) -> None:
    """Do something more at the beginning of a method."""
    original = getattr(owner, name)

    def both(self: Any, *args: Any) -> Any:
        extra(self, *args)
        return original(self, *args)

    patch.setattr(owner, name, both)


def behind(patch: Patch, owner: Any, name: str, extra: Callable[..., object]) -> None:
    """Do something more at the end of a method."""
    original = getattr(owner, name)

    def both(self: Any, *args: Any) -> Any:
        result = original(self, *args)
        extra(self, *args)
        return result

    patch.setattr(owner, name, both)


# What is on disk, and when.


@planted(1)
def follower_acknowledges_before_the_sync(patch: Patch) -> None:
    def ack(self: Learner, packet: q.Packet) -> None:
        if self._acked_zxid is not None:
            self._send(q.encode_packet(q.ACK, packet.zxid))

    behind(patch, Learner, "_propose", ack)


@planted(1)
def leader_counts_itself_before_its_sync(patch: Patch) -> None:
    behind(patch, Leader, "propose", lambda self, entry: self._hold(self._peer.settings.sid, entry.zxid))


@planted(1)
def log_is_never_synced(patch: Patch) -> None:
    patch.setattr(TxnLog, "sync", lambda self: None)


@planted(1, kinds=("failing sync", "power cut"))
def failed_sync_counts_as_done(patch: Patch) -> None:
    original = TxnLog.sync

    def sync(self: TxnLog) -> None:
        with suppress(OSError):
            original(self)

    patch.setattr(TxnLog, "sync", sync)


@planted(1)
def epoch_before_history(patch: Patch) -> None:
    """ZOOKEEPER-4643."""
    original = Learner._take_over_history

    def take_over(self: Learner, zxid: int) -> None:
        self._peer.carry_out(EpochWrite(CURRENT_EPOCH, self._epoch))
        original(self, zxid)

    patch.setattr(Learner, "_take_over_history", take_over)


@planted(1)
def new_leader_acknowledged_from_memory(patch: Patch) -> None:
    """ZOOKEEPER-3911, 4646, 4785."""

    def ack(self: Learner, zxid: int) -> None:
        self._ack_new_leader(self._peer.history.last_zxid)

    before(patch, Learner, "_take_over_history", ack)


@planted(1)
def accepted_epoch_stays_in_memory(patch: Patch) -> None:
    original = Store.carry_out

    def carry_out(self: Store, operation: Any) -> DataTree | None:
        if isinstance(operation, EpochWrite) and operation.kind == ACCEPTED_EPOCH:
            return None
        return original(self, operation)

    patch.setattr(Store, "carry_out", carry_out)


@planted(1)
def epoch_file_without_its_sync(patch: Patch) -> None:
    def write(disk: Any, kind: str, epoch: int) -> None:
        file = disk.create(kind + ".tmp")
        file.write(0, b"%d" % epoch)
        file.close()
        disk.rename(kind + ".tmp", kind)

    patch.setattr(store, "write_epoch", write)


@planted(1)
def leader_offers_its_epoch_before_it_is_stored(patch: Patch) -> None:
    original = Leader._try_epoch

    def try_epoch(self: Leader) -> None:
        original(self)
        if self._epoch_asked and not self._epoch_fixed:
            self._fix_epoch()

    patch.setattr(Leader, "_try_epoch", try_epoch)


@planted(1, kinds=("isolation", "slow disk"))
def vote_while_writes_are_under_way(patch: Patch) -> None:
    """ZOOKEEPER-2845, 4712: the vote is cast from memory."""
    original = ZabPeer._look_when_drained

    def look(self: ZabPeer) -> None:
        flushed, self.flushed_zxid = self.flushed_zxid, self.history.last_zxid
        original(self)
        self.flushed_zxid = flushed

    patch.setattr(ZabPeer, "_look_when_drained", look)


@planted(1)
def applied_before_the_own_sync(patch: Patch) -> None:
    """ZOOKEEPER-4882: the tree is ahead of the log."""
    original = ZabPeer.release

    def release(self: ZabPeer) -> None:
        flushed, self.flushed_zxid = self.flushed_zxid, self.history.last_zxid
        original(self)
        self.flushed_zxid = flushed

    patch.setattr(ZabPeer, "release", release)


@planted(37, kinds=("isolation", "power cut"))
def old_log_stays_under_a_leaders_snapshot(patch: Patch) -> None:
    patch.setattr(replace, "log_files", lambda disk: [])


@planted(37, kinds=("isolation", "power cut"))
def truncation_keeps_the_tail(patch: Patch) -> None:
    patch.setattr(replace, "cut_file", lambda disk, name, size_bytes: None)


@planted(1)
def snapshot_forgets_child_versions(patch: Patch) -> None:
    original = snapshot._znode

    def znode(data: Any, acl: Any, fields: list[int]) -> Any:
        node = original(data, acl, fields)
        node.cversion = len(node.children or ())
        return node

    patch.setattr(snapshot, "_znode", znode)


# Who leads, and what is committed.


@planted(1)
def committed_without_a_quorum(patch: Patch) -> None:
    patch.setattr(Membership, "committed", lambda self, held: max(held.values()))


@planted(8, 5, 1, kinds=("partition",))
def observers_are_counted(patch: Patch) -> None:
    patch.setattr(Membership, "is_quorum", lambda self, sids: len(set(sids)) > len(self.voters) // 2)


@planted(2)
def election_by_zxid_without_epoch(patch: Patch) -> None:
    patch.setattr(Election, "_rank", lambda self, vote: (True, 0, vote.zxid & 0xFFFFFFFF, vote.leader))


@planted(1)
def election_by_accepted_epoch(patch: Patch) -> None:
    original = Election.look

    def look(self: Election, last_zxid: int, current_epoch: int, now_ms: int) -> None:
        original(self, last_zxid, current_epoch + 1, now_ms)

    patch.setattr(Election, "look", look)


@planted(1)
def established_without_a_quorum_of_new_leader(patch: Patch) -> None:
    patch.setattr(Leader, "_alive", lambda self: set(self._by_sid) | {self._peer.settings.sid})


@planted(1)
def epoch_below_the_promised_one_is_followed(patch: Patch) -> None:
    original = Learner._accept_epoch

    def accept(self: Learner, packet: q.Packet) -> None:
        accepted, self._peer.accepted_epoch = self._peer.accepted_epoch, 0
        original(self, packet)
        self._peer.accepted_epoch = accepted

    patch.setattr(Learner, "_accept_epoch", accept)


@planted(1)
def leader_stays_without_a_quorum(patch: Patch) -> None:
    patch.setattr(Leader, "_alive", lambda self: set(self._membership.voters) if self._established else _alive(self))


_alive = Leader._alive


@planted(1, kinds=("isolation", "power cut"))
def old_leaders_tail_is_not_truncated(patch: Patch) -> None:
    original = synchronize.plan_sync

    def plan(history: History, committed_zxid: int, learner_zxid: int, *, cautious: bool) -> Plan:
        if learner_zxid > committed_zxid:
            return Plan(q.DIFF, learner_zxid)
        return original(history, committed_zxid, learner_zxid, cautious=cautious)

    patch.setattr(synchronize, "plan_sync", plan)


@planted(89)
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


@planted(1)
def entry_missing_in_a_diff(patch: Patch) -> None:
    original = History.behind

    def part(self: History, zxid: int) -> list[Any]:
        found = original(self, zxid)
        return found[1:] if len(found) > 1 else found

    patch.setattr(History, "behind", part)
    patch.setattr(learner, "follows", lambda last_zxid, zxid: True)
    patch.setattr(history, "follows", lambda last_zxid, zxid: True)


@planted(35, kinds=("reset",))
def proposals_only_to_those_in_sync(patch: Patch) -> None:
    original = Handler.propose

    def propose(self: Handler, packet: bytes) -> None:
        if self.up_to_date:
            original(self, packet)

    patch.setattr(Handler, "propose", propose)
    patch.setattr(learner, "follows", lambda last_zxid, zxid: True)
    patch.setattr(history, "follows", lambda last_zxid, zxid: True)


@planted(1)
def proposal_twice_while_syncing(patch: Patch) -> None:
    original = Synchronizer._send_history

    def send(self: Synchronizer, handler: Handler, zxid: int) -> None:
        for entry in self._peer.history.behind(self._peer.committed_zxid):
            if self._peer.serving and not handler.observer:
                handler.send(q.PROPOSAL, entry.zxid, entry.payload)
        original(self, handler, zxid)

    patch.setattr(Synchronizer, "_send_history", send)
    patch.setattr(learner, "follows", lambda last_zxid, zxid: True)


@planted(5, kinds=("pause", "isolation"))
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
        if self._serves_from is not None:
            self._serves_from = None
            self._peer.serve(self._epoch)

    patch.setattr(Learner, "_try_serving", serve)


# What clients see.


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
            self.digest += 1
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


# Sessions.


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


@planted(1)
def closing_overlooks_what_is_under_way(patch: Patch) -> None:
    """Our own, found by the simulation: a znode deleted and made anew as an ephemeral one was left out."""

    def close(self: Preparer, session_id: int, zxid: int) -> Any:
        self._closing[session_id] = None
        owned = [path for path in self._tree.ephemerals.get(session_id, ()) if self._exists(path)]
        for path in owned:
            node = self._find(path)
            if node is not None:
                self._remove(path, node, zxid)
        return (tuple(owned),)

    patch.setattr(Preparer, "_close_session", close)


@planted(1)
def session_never_ends(patch: Patch) -> None:
    patch.setattr(SessionTracker, "expired", lambda self, now_ms: [])


@planted(7, kinds=("rot",))
def records_without_checksums(patch: Patch) -> None:
    patch.setattr(txnlog, "adler32", lambda data: 0)
