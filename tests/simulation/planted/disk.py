"""Bugs in what is on disk, and when."""

from contextlib import suppress
from typing import Any

from recipes.core.disk import replace, store, txnlog
from recipes.core.disk.store import Store
from recipes.core.disk.txnlog import TxnLog
from recipes.core.jute import quorum as q
from recipes.core.replication import Cell
from recipes.core.tree.tree import DataTree
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, epoch_cell
from recipes.core.zab.leader import Leader
from recipes.core.zab.learner import Learner
from recipes.core.zab.peer import ZabPeer
from recipes.core.zab.stages import Event, LeaderStage, LearnerStage
from tests.simulation.planted.bug import Patch, before, behind, planted


@planted(1, "Z9")
def follower_acknowledges_before_the_sync(patch: Patch) -> None:
    def ack(self: Learner, packet: q.Packet) -> None:
        if self.stage is not LearnerStage.STORING:
            self._send(q.encode_packet(q.ACK, packet.zxid))

    behind(patch, Learner, "_propose", ack)


@planted(1, "Z11")
def leader_counts_itself_before_its_sync(patch: Patch) -> None:
    behind(patch, Leader, "propose", lambda self, entry: self._count_disk(self._peer.settings.sid, entry.zxid))


@planted(1, "Z9")
def log_is_never_synced(patch: Patch) -> None:
    patch.setattr(TxnLog, "sync", lambda self: None)


@planted(7, "Z14", kinds=("failing sync", "power cut"))
def failed_sync_counts_as_done(patch: Patch) -> None:
    original = TxnLog.sync

    def sync(self: TxnLog) -> None:
        with suppress(OSError):
            original(self)

    patch.setattr(TxnLog, "sync", sync)


@planted(1, "Z9")
def epoch_before_history(patch: Patch) -> None:
    """ZOOKEEPER-4643."""
    original = Learner._take_over_history

    def take_over(self: Learner, packet: q.Packet) -> None:
        self._peer.carry_out(epoch_cell(CURRENT_EPOCH, self._epoch))
        original(self, packet)

    patch.setattr(Learner, "_take_over_history", take_over)


@planted(1, "Z9")
def new_leader_acknowledged_from_memory(patch: Patch) -> None:
    """ZOOKEEPER-3911, 4646, 4785."""

    def ack(self: Learner, packet: q.Packet) -> None:
        self._send(q.encode_packet(q.ACK, self._epoch << 32))

    before(patch, Learner, "_take_over_history", ack)


@planted(1, "Z14")
def accepted_epoch_stays_in_memory(patch: Patch) -> None:
    original = Store.carry_out

    def carry_out(self: Store, operation: Any) -> DataTree | None:
        if isinstance(operation, Cell) and operation.name == ACCEPTED_EPOCH:
            return None
        return original(self, operation)

    patch.setattr(Store, "carry_out", carry_out)


@planted(1, "Z14")
def epoch_file_without_its_sync(patch: Patch) -> None:
    def write(disk: Any, name: str, value: bytes) -> None:
        file = disk.create(name + ".tmp")
        file.write(0, value)
        file.close()
        disk.rename(name + ".tmp", name)

    patch.setattr(store, "write_cell", write)


@planted(1, "Z10")
def leader_enters_an_epoch_that_it_has_not_promised(patch: Patch) -> None:
    def promise_epoch(self: Leader) -> None:
        self.stage = LeaderStage.PROMISING
        self.happened(Event.STORED)

    patch.setattr(Leader, "_promise_epoch", promise_epoch)


@planted(1, "Z9", kinds=("isolation", "slow disk"))
def vote_while_writes_are_under_way(patch: Patch) -> None:
    """ZOOKEEPER-2845, 4712: the vote is cast from memory."""
    original = ZabPeer._look_when_drained

    def look(self: ZabPeer) -> None:
        flushed, self.flushed_zxid = self.flushed_zxid, self.history.last_zxid
        original(self)
        self.flushed_zxid = flushed

    patch.setattr(ZabPeer, "_look_when_drained", look)


@planted(1, "Z9")
def applied_before_the_own_sync(patch: Patch) -> None:
    """ZOOKEEPER-4882: the tree is ahead of the log."""
    original = ZabPeer.release

    def release(self: ZabPeer) -> None:
        flushed, self.flushed_zxid = self.flushed_zxid, self.history.last_zxid
        original(self)
        self.flushed_zxid = flushed

    patch.setattr(ZabPeer, "release", release)


@planted(37, "Z13", kinds=("isolation", "power cut"))
def old_log_stays_under_a_leaders_snapshot(patch: Patch) -> None:
    patch.setattr(replace, "log_files", lambda disk: [])


@planted(37, "Z13", kinds=("isolation", "power cut"))
def truncation_keeps_the_tail(patch: Patch) -> None:
    patch.setattr(replace, "cut_file", lambda disk, name, size_bytes: None)


@planted(1, "Z13")
def snapshot_forgets_child_versions(patch: Patch) -> None:
    original = DataTree.load

    def load(self: Any, path: Any, data: Any, acl: Any, owner: Any, numbers: Any) -> None:
        original(self, path, data, acl, owner, (*numbers[:5], 0, *numbers[6:]))

    patch.setattr(DataTree, "load", load)


@planted(31, "Z13", kinds=("rot",))
def records_without_checksums(patch: Patch) -> None:
    patch.setattr(txnlog, "adler32", lambda data: 0)
