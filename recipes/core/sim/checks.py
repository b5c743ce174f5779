"""The properties of replication, checked from outside after every step: compares what each server does with its disk.

Only one leader makes a given zxid, so the last zxid of a log determines the whole log: within an epoch the counters are
dense, and the entry before the first one of an epoch is the same in every log. Two logs that hold the same zxid
therefore agree up to that zxid. The names Z1 to Z14 are those of docs/simulation.md. Those that
depend on the protocol are checked by its Rules.
"""

from collections.abc import Mapping
from typing import NoReturn

from recipes.core.errors import InvariantBroken
from recipes.core.replication import Cell, Entry, InstallSnapshot, Operation
from recipes.core.sim.reference import Reference
from recipes.core.sim.rules import Rules
from recipes.core.zxid import counter_of, epoch_of


class Shadow:
    """The state of one server, observed from outside.

    logged, durable: last zxid that it gave to its disk, and last zxid that its disk keeps through a power cut.
    applied: last zxid in its tree. begun: an operation that is under way.
    exposed: last zxid that its clients may see.
    damaged: its disk has lost data, because it rotted or was wiped, and no leader has restored the data yet.
    rotten: bits have changed in files that the server may still read.
    unsure: the server itself reports that it cannot rely on its log.
    former: the value of `durable` when the disk was damaged.
    """

    __slots__ = (
        "applied", "begun", "damaged", "durable", "exposed", "former", "logged", "rotten", "sid", "unsure", "voter",
    )  # fmt: skip

    def __init__(self, sid: int, voter: bool) -> None:
        self.sid: int = sid
        self.voter: bool = voter
        self.logged: int = 0
        self.durable: int = 0
        self.applied: int = 0
        self.exposed: int = 0
        self.former: int = 0
        self.begun: Operation | None = None
        self.damaged: bool = False
        self.rotten: bool = False
        self.unsure: bool = False


class Ledger:
    """All servers' shadows, and the one order of committed txns.

    sids: every server, and whether it votes. A majority of the voters decides.
    reuses_zxids: a standalone server reuses the zxids of txns that were lost before they were acknowledged.
    tip: last zxid that a client may have seen. majority: how many voters decide. rules: of the protocol.
    slowest_flush_us: how long a disk has taken at most for one job.
    """

    def __init__(self, sids: dict[int, bool], reuses_zxids: bool = False) -> None:
        self.rules: Rules = Rules()
        self.shadows: dict[int, Shadow] = {sid: Shadow(sid, voter) for sid, voter in sids.items()}
        self.reference: Reference = Reference()
        self.tip: int = 0
        self.now_us = 0
        self.slowest_flush_us: int = 0
        self.leaders: dict[int, int] = {}  # established: epoch -> server
        self._reuses_zxids = reuses_zxids
        self.majority: int = sum(sids.values()) // 2 + 1
        self._payloads: dict[int, bytes] = {}
        self._before: dict[int, int] = {}  # epoch -> zxid before its first entry
        self._known: dict[int, None] = {0: None}  # zxids in the committed order

    # Histories.

    def contains(self, tip: int, zxid: int) -> bool:
        """Whether the history that ends at `tip` contains `zxid`."""
        while tip > 0:
            if epoch_of(tip) == epoch_of(zxid):
                return zxid <= tip
            if tip < zxid:
                return False
            tip = self._before.get(epoch_of(tip), 0)
        return zxid == tip == 0

    def _common(self, tip: int) -> int:
        """The last committed zxid in the history that ends at `tip`."""
        while tip > 0 and tip not in self._known:
            tip = tip - 1 if counter_of(tip) > 1 else self._before[epoch_of(tip)]
        return tip

    def holders(self, zxid: int) -> list[int]:
        """Voters whose disks hold `zxid`, or held it before they were damaged."""
        return [
            sid
            for sid, shadow in self.shadows.items()
            if shadow.voter
            and (self.contains(shadow.durable, zxid) or (shadow.damaged and self.contains(shadow.former, zxid)))
        ]

    def intact_without(self, sid: int) -> bool:
        """Whether a quorum of the other voters holds everything committed, and no other server is damaged or unsure."""
        others = [
            other
            for other, shadow in self.shadows.items()
            if shadow.voter and other != sid and not shadow.damaged and self.contains(shadow.durable, self.tip)
        ]
        sound = all(not shadow.damaged and not shadow.unsure for other, shadow in self.shadows.items() if other != sid)
        return sound and len(others) >= self.majority

    # What a server's disk does.

    def logged(self, sid: int, entries: list[Entry]) -> None:
        """Entries were written, not yet synced."""
        shadow = self.shadows[sid]
        for entry in entries:
            zxid, last = entry.zxid, shadow.logged
            if self._payloads.setdefault(zxid, entry.payload) != entry.payload:
                self.fail("Z2", f"two txns are called 0x{zxid:x}")
            if counter_of(zxid) == 1:
                if epoch_of(zxid) <= epoch_of(last) and last > 0:
                    self.fail("Z6", f"server {sid} logs 0x{zxid:x} behind 0x{last:x}")
                if self._before.setdefault(epoch_of(zxid), last) != last:
                    self.fail("Z3", f"server {sid} has 0x{last:x} before 0x{zxid:x}, others another txn")
            elif zxid != last + 1:
                self.fail("Z14", f"server {sid} logs 0x{zxid:x} behind 0x{last:x}")
            shadow.logged = zxid

    def synced(self, sid: int, unsynced: list[str]) -> None:
        """The server considers everything logged durable. unsynced: log files that are not durable."""
        if unsynced:
            self.fail("Z9", f"server {sid} takes {unsynced} for durable")
        shadow = self.shadows[sid]
        shadow.durable = shadow.logged
        self.rules.synced(sid)

    def begins(self, sid: int, operation: Operation) -> None:
        """An operation begins: after a crash, it has taken effect or not."""
        self.shadows[sid].begun = operation

    def carried_out(self, sid: int, operation: Operation, last_zxid: int, keeps_tree: bool = False) -> None:
        """An operation is durable.

        last_zxid: the end of the new history; -1 if the server gave up its history. keeps_tree: the tree stays, since
        it has nothing of what was cut off.
        """
        shadow = self.shadows[sid]
        shadow.begun = None
        if isinstance(operation, Cell):
            self.rules.stored(sid, operation)
            return
        common = self._common(shadow.logged)
        self.rules.replaces(sid, operation, common)
        if isinstance(operation, InstallSnapshot):
            if last_zxid not in self._payloads and counter_of(last_zxid):
                self.fail("Z4", f"server {sid} takes a snapshot of 0x{last_zxid:x}, which nobody made")
            # An unsure server may install an older snapshot: it gets the txns behind it before any leader counts it.
            if shadow.exposed > last_zxid and not shadow.unsure and self.contains(self.tip, shadow.exposed):
                self.fail("Z12", f"server {sid} goes back from 0x{shadow.exposed:x} to a snapshot of 0x{last_zxid:x}")
            shadow.unsure = shadow.rotten = False
        elif shadow.unsure and last_zxid != -1:  # it cuts a log that it could not rely on, since a quorum needs it
            shadow.unsure = False
        elif last_zxid == -1:
            shadow.unsure = shadow.damaged = True
            shadow.former = max(shadow.former, shadow.durable)
        shadow.logged = shadow.durable = last_zxid
        if not keeps_tree:
            shadow.applied = last_zxid
        # A server may take back a committed txn as long as a majority of the voters still holds the txn.
        if common > last_zxid and len(self.holders(common)) < self.majority:
            self.fail(
                "Z12", f"server {sid} goes back to 0x{last_zxid:x}; 0x{common:x} is left on {self.holders(common)}"
            )

    def lost_power(self, sid: int) -> None:
        """A server is down; its tree is gone."""
        self.shadows[sid].applied = 0

    def wiped(self, sid: int) -> None:
        """A server's disk is empty."""
        shadow = self.shadows[sid]
        shadow.former = max(shadow.former, shadow.durable) if shadow.damaged else shadow.durable
        shadow.damaged, shadow.rotten = True, False
        shadow.logged = shadow.durable = 0
        self.rules.wiped(sid)

    def rotted(self, sid: int) -> None:
        """Bits of a server's disk have changed."""
        shadow = self.shadows[sid]
        shadow.former = max(shadow.former, shadow.durable) if shadow.damaged else shadow.durable
        shadow.damaged = shadow.rotten = True

    def recovered(self, sid: int, last_zxid: int, applied_zxid: int, cells: Mapping[str, bytes], unsure: bool) -> None:
        """A server has recovered from its disk, and starts from this state."""
        shadow = self.shadows[sid]
        begun = shadow.begun
        if begun is not None and not isinstance(begun, Cell) and begun.zxid == last_zxid:
            self.carried_out(sid, begun, last_zxid)
        shadow.begun = None
        if not shadow.damaged:
            # Writes torn by sectors look like rot: such a server is unsure, and is checked as damaged.
            if not unsure and not self.contains(last_zxid, shadow.durable):
                self.fail("Z14", f"server {sid} held 0x{shadow.durable:x} and comes back with 0x{last_zxid:x}")
        if not (unsure or shadow.damaged or self.contains(shadow.logged, last_zxid)):
            self.fail("Z14", f"server {sid} comes back with 0x{last_zxid:x}, its log ended at 0x{shadow.logged:x}")
        self.rules.recovered(sid, last_zxid, cells, unsure)
        if unsure and not shadow.damaged:
            shadow.damaged, shadow.former = True, shadow.durable
        shadow.unsure = unsure
        shadow.logged = shadow.durable = last_zxid
        shadow.applied = applied_zxid
        if self._reuses_zxids:
            self._payloads = {zxid: payload for zxid, payload in self._payloads.items() if zxid <= last_zxid}

    def differs(self, sid: int, zxid: int) -> None:
        """A server has replayed its log, and its tree at `zxid` has another digest than the leader's."""
        if not self.shadows[sid].rotten:
            self.fail("Z13", f"server {sid} comes back with another tree at 0x{zxid:x}")

    # What a server sends.

    def committed(self, sid: int, zxid: int) -> None:
        """A leader sends a COMMIT or INFORM of its own epoch."""
        if zxid > self.tip and len(self.holders(zxid)) < self.majority:
            self.fail("Z11", f"server {sid} commits 0x{zxid:x}, which only {self.holders(zxid)} hold")

    # What a server applies and shows.

    def applied(self, sid: int, entry: Entry) -> None:
        """A server has applied a txn to its tree."""
        shadow = self.shadows[sid]
        zxid, last = entry.zxid, shadow.applied
        if zxid != last + 1 and not (counter_of(zxid) == 1 and self._before.get(epoch_of(zxid)) == last):
            self.fail("Z5", f"server {sid} applies 0x{zxid:x} behind 0x{last:x}")
        if self._payloads.get(zxid) != entry.payload:
            self.fail("Z2", f"server {sid} applies another txn 0x{zxid:x} than was made")
        if not self.contains(shadow.durable, zxid):
            self.fail("Z9", f"server {sid} applies 0x{zxid:x}, its disk holds 0x{shadow.durable:x}")
        self.rules.applied(sid, zxid)
        shadow.applied = zxid

    def has_applied(self, sid: int, zxid: int) -> None:
        """Compare the last zxid of a server's tree with the txns applied."""
        if not self.shadows[sid].unsure and self.shadows[sid].applied != zxid:
            self.fail("Z5", f"server {sid} has applied up to 0x{self.shadows[sid].applied:x}, not 0x{zxid:x}")

    def shows(self, sid: int, epoch: int, leads: bool, digest: int) -> None:
        """A server serves clients, which can see everything that it has applied."""
        shadow = self.shadows[sid]
        if leads and self.leaders.get(epoch) != sid:
            self._establish(sid, epoch)
        applied = shadow.applied
        if applied > self.tip:
            self._extend(sid, applied)
        elif applied not in self._known:
            self.fail("Z3", f"server {sid} shows 0x{applied:x}, which is not in the committed order")
        if applied < shadow.exposed:
            self.fail("C6", f"server {sid} showed 0x{shadow.exposed:x} and now 0x{applied:x}")
        shadow.exposed = applied
        expected = self.reference.digests.get(applied)
        if expected is not None and digest != expected:
            self.fail("Z13", f"server {sid} at 0x{applied:x}: digest {digest:x}, expected {expected:x}")

    def _establish(self, sid: int, epoch: int) -> None:
        """A leader begins to serve."""
        if self.leaders.setdefault(epoch, sid) != sid:
            self.fail("Z1", f"servers {self.leaders[epoch]} and {sid} both lead epoch {epoch}")
        self.rules.established(sid, epoch)

    def _extend(self, sid: int, zxid: int) -> None:
        """Everything up to `zxid` is committed from now on."""
        if not self.contains(zxid, self.tip):
            self.fail("Z8", f"server {sid} shows 0x{zxid:x} without the committed 0x{self.tip:x}")
        holders = self.holders(zxid)
        if len(holders) < self.majority:
            self.fail("Z11", f"server {sid} shows 0x{zxid:x}, which only {holders} hold")
        new = []
        while zxid != self.tip:
            new.append(zxid)
            zxid = zxid - 1 if counter_of(zxid) > 1 else self._before[epoch_of(zxid)]
        for each in reversed(new):
            self._known[each] = None
            self.reference.apply(self._payloads[each], self.now_us)
            self.tip = each

    def fail(self, name: str, message: str) -> NoReturn:
        """A property does not hold. Raises InvariantBroken."""
        raise InvariantBroken(f"{self.rules.name(name)} {message}")
