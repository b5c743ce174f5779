"""Planted bugs of ZAB: what becomes of logs and snapshots."""

from recipes.core.jute.quorum import Packet
from recipes.core.replication import Entry
from recipes.core.sim.disk import SimDisk, SimFile
from recipes.core.zab.leader import Leader
from recipes.core.zab.learner import Learner
from recipes.core.zab.peer import ZabPeer
from recipes.core.zab.stages import LeaderStage, LearnerStage, ProgressStage
from recipes.core.zab.synchronize import Synchronizer
from recipes.lab.plants.plant import Plant


class _MisnamingLearner(Learner):
    """Takes a snapshot for one that ends a txn later."""

    def _install(self, packet: Packet) -> None:
        super()._install(packet._replace(zxid=packet.zxid + 1))


class _Misnaming(ZabPeer):
    learner_class = _MisnamingLearner


class _LateLeader(Leader):
    """Applies the rest of its log once it is established, and sends snapshots before that."""

    def _start_syncing(self) -> None:
        self.stage = LeaderStage.SYNCING
        self._synchronizer = Synchronizer(self._peer, self.epoch, self._by_sid)
        self._synchronizer._initial_zxid = 0  # it does not compare
        self._more_time()
        for learner in list(self._by_sid.values()):
            if learner.stage is ProgressStage.READY:
                self._sync(learner)
        self._try_establish()

    def _try_establish(self) -> None:
        if self._membership.is_quorum(self._alive()):
            self._peer.commit(self._initial_zxid)
        super()._try_establish()


class _Late(ZabPeer):
    leader_class = _LateLeader


class _Skipping(ZabPeer):
    """Of what brings it up to date, writes only the last entry."""

    def append(self, entry: Entry) -> None:
        learner = self.learner
        if learner is not None and learner.stage is LearnerStage.COLLECTING and entry is not learner._pending[-1]:
            self.history.append(entry)
        else:
            super().append(entry)


class _LyingFile(SimFile):
    """A file of which nothing is durable, whatever a sync says."""

    def sync(self) -> None:
        self._disk.effect()


class _LyingDisk(SimDisk):
    """A disk whose cache is lost with the power."""

    def create(self, name: str) -> SimFile:
        super().create(name)
        return _LyingFile(self, self._inode(name))

    def open(self, name: str) -> SimFile:
        super().open(name)
        return _LyingFile(self, self._inode(name))


PLANTS: tuple[Plant, ...] = (
    Plant(
        "zab-snapshot-misnamed", "zab",
        "a follower takes a snapshot for one that ends a txn later",
        "follower 把快照的 zxid 多记了一个事务",
        ("Z4",), {ZabPeer: _Misnaming}, wipes=True,
    ),
    Plant(
        "zab-snapshot-too-early", "zab",
        "a new leader sends snapshots before its tree has all of its log",
        "新 leader 的数据树尚未应用完自己的日志，就发送快照",
        ("Z7", "Z12"), {ZabPeer: _Late}, wipes=True,
    ),
    Plant(
        "zab-history-not-written", "zab",
        "a follower that is brought up to date writes only the last entry of what it gets",
        "follower 同步时只写入收到的最后一条日志",
        ("Z6",), {ZabPeer: _Skipping},
    ),
    Plant(
        "zab-disk-lies", "zab",
        "the disks say that a sync is done while the data are in a cache that a power cut empties",
        "磁盘谎称已落盘，数据其实还在断电即失的缓存里",
        ("Z14",), {SimDisk: _LyingDisk},
    ),
)  # fmt: skip
