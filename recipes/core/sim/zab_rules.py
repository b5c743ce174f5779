"""The properties that are ZAB's own: what a server promises over the network, compared with its disk and its epochs."""

from collections.abc import Mapping, Sequence
from struct import Struct

from recipes.core.jute import quorum as q
from recipes.core.jute import votes as v
from recipes.core.replication import Cell
from recipes.core.sim.checks import Ledger
from recipes.core.sim.rules import Rules, Tap
from recipes.core.zab.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH, stored_epoch
from recipes.core.zxid import counter_of, epoch_of

STATE_NAMES = {v.LOOKING: "LOOKING", v.FOLLOWING: "FOLLOWING", v.LEADING: "LEADING", v.OBSERVING: "OBSERVING"}

_HEAD = Struct(">iqi")
_INT = Struct(">i")
_SNAP_END = b"BenWasHere"


class ZabTap(Tap):
    """Observes what one server sends over one connection of the quorum port.

    counts: name of a packet type -> how often it was sent.
    """

    __slots__ = ("_counts", "_in_dump", "_rules", "_sid", "_synced")

    def __init__(self, rules: "ZabRules", sid: int, counts: dict[str, int]) -> None:
        self._rules = rules
        self._sid = sid
        self._counts = counts
        self._in_dump = False
        self._synced = 0  # the epoch whose NEWLEADER went over this connection

    def sent(self, data: bytes) -> None:
        """Check bytes that the server sends: whole packets, or a part of a tree."""
        if self._in_dump:
            self._in_dump = not data.endswith(_SNAP_END)
            return
        at, size = 0, len(data)
        while at < size:
            kind, zxid, length = _HEAD.unpack_from(data, at)
            body_at = at + 16
            at = body_at + max(length, 0)
            ids = _INT.unpack_from(data, at)[0]
            at += 4
            for _ in range(2 * max(ids, 0)):
                at += 4 + _INT.unpack_from(data, at)[0]
            self._look(kind, zxid, data[body_at : body_at + 4])
            if kind == q.SNAP:
                self._in_dump = True

    def _look(self, kind: int, zxid: int, body: bytes) -> None:
        name = q.packet_name(kind)
        self._counts[name] = self._counts.get(name, 0) + 1
        rules, sid = self._rules, self._sid
        if kind == q.ACK:
            rules.acknowledged(sid, zxid)
        elif kind in (q.COMMIT, q.INFORM):
            if epoch_of(zxid) == self._synced:
                rules.ledger.committed(sid, zxid)
        elif kind == q.ACKEPOCH:
            rules.acknowledged_epoch(sid, zxid, _INT.unpack(body)[0])
        elif kind == q.LEADERINFO:
            rules.offered(sid, epoch_of(zxid))
        elif kind == q.SNAP:
            rules.dumps(sid, zxid)
        elif kind == q.NEWLEADER:
            self._synced = epoch_of(zxid)
            rules.synchronizes(sid, epoch_of(zxid))


class _Epochs:
    """The epochs on one server's disk."""

    __slots__ = ("accepted", "current")

    def __init__(self) -> None:
        self.accepted = self.current = 0


class ZabRules(Rules):
    """packets, states: how often servers sent each type of packet, and each state in a notification."""

    def __init__(self, ledger: Ledger, packets: dict[str, int], states: dict[str, int]) -> None:
        self.ledger: Ledger = ledger
        self._fail = ledger.fail
        self._contains = ledger.contains
        self._packets = packets
        self._states = states
        self._epochs: dict[int, _Epochs] = {sid: _Epochs() for sid in ledger.shadows}
        self._initial: dict[int, int] = {}  # epoch -> last zxid of the history its leader starts from

    # What a server's disk holds.

    def recovered(self, sid: int, last_zxid: int, cells: Mapping[str, bytes], unsure: bool) -> None:
        """A server starts with these epochs."""
        ledger, epochs = self.ledger, self._epochs[sid]
        accepted, current = stored_epoch(cells, ACCEPTED_EPOCH) or 0, stored_epoch(cells, CURRENT_EPOCH) or 0
        if not ledger.shadows[sid].damaged and (accepted < epochs.accepted or current < epochs.current):
            ledger.fail("Z10", f"server {sid} comes back with epochs {accepted} and {current}")
        if not accepted >= current or (current < epoch_of(last_zxid) and not unsure):
            ledger.fail("Z10", f"server {sid}: accepted {accepted}, current {current}, log 0x{last_zxid:x}")
        epochs.accepted, epochs.current = accepted, current

    def wiped(self, sid: int) -> None:
        """A server has no epochs any more."""
        self._epochs[sid] = _Epochs()

    def stored(self, sid: int, cell: Cell) -> None:
        """An epoch is durable."""
        shadow, epochs, epoch = self.ledger.shadows[sid], self._epochs[sid], int(cell.value)
        if cell.name == ACCEPTED_EPOCH:
            if epoch <= epochs.accepted:
                self._fail("Z10", f"server {sid} accepts epoch {epoch} behind {epochs.accepted}")
            epochs.accepted = epoch
        else:
            if not epochs.current <= epoch <= epochs.accepted:
                self._fail("Z10", f"server {sid} enters epoch {epoch}: was in {epochs.current}, of {epochs.accepted}")
            initial = self._initial.get(epoch)
            if initial is not None and not self._contains(shadow.durable, initial):
                self._fail("Z9", f"server {sid} enters epoch {epoch} without its history up to 0x{initial:x}")
            epochs.current = epoch
            if initial is not None and not shadow.rotten:
                shadow.damaged = False

    # What a server sends.

    def tap(self, sid: int) -> ZabTap:
        """An observer that checks and counts packets."""
        return ZabTap(self, sid, self._packets)

    def votes(self, sid: int, votes: Sequence[tuple[int, v.Notification]]) -> None:
        """Check and count votes."""
        for _, note in votes:
            name = STATE_NAMES[note.state]
            self._states[name] = self._states.get(name, 0) + 1
            if note.state == v.LOOKING and note.leader == sid:
                self.voted(sid, note.zxid, note.peer_epoch)

    def voted(self, sid: int, zxid: int, epoch: int) -> None:
        """A server votes for itself."""
        shadow, epochs = self.ledger.shadows[sid], self._epochs[sid]
        expected = -1 if shadow.unsure else shadow.durable
        if zxid != expected or epoch != epochs.current:
            self._fail("Z9", f"server {sid} votes with 0x{zxid:x} in {epoch}: has 0x{expected:x} in {epochs.current}")

    def acknowledged(self, sid: int, zxid: int) -> None:
        """A server sends an ACK."""
        shadow, epochs = self.ledger.shadows[sid], self._epochs[sid]
        epoch = epoch_of(zxid)
        if counter_of(zxid):
            if not self._contains(shadow.durable, zxid):
                self._fail("Z9", f"server {sid} acknowledges 0x{zxid:x}, its disk holds 0x{shadow.durable:x}")
        elif epochs.current != epoch:
            self._fail("Z9", f"server {sid} acknowledges epoch {epoch}, its disk says {epochs.current}")
        elif not self._contains(shadow.durable, self._initial.get(epoch, 0)):
            self._fail("Z9", f"server {sid} acknowledges epoch {epoch} without its history")

    def acknowledged_epoch(self, sid: int, zxid: int, epoch: int) -> None:
        """A server sends an ACKEPOCH. epoch: -1 if the leader must not count it."""
        shadow, epochs = self.ledger.shadows[sid], self._epochs[sid]
        expected = -1 if shadow.unsure else shadow.durable
        if zxid != expected or epoch not in (-1, epochs.current):
            self._fail("Z9", f"server {sid} claims 0x{zxid:x} in {epoch}: has 0x{expected:x} in {epochs.current}")

    def offered(self, sid: int, epoch: int) -> None:
        """A server sends a LEADERINFO. It may accept the epoch later, but must do so before the epoch begins."""
        if self._epochs[sid].accepted > epoch:
            self._fail("Z10", f"server {sid} offers epoch {epoch}, and has accepted {self._epochs[sid].accepted}")

    def synchronizes(self, sid: int, epoch: int) -> None:
        """A server sends a NEWLEADER."""
        shadow, epochs = self.ledger.shadows[sid], self._epochs[sid]
        if epochs.current != epoch:
            self._fail("Z9", f"server {sid} leads epoch {epoch}, its disk says {epochs.current}")
        if epoch not in self._initial:
            self._initial[epoch] = shadow.durable
            if not self._contains(shadow.durable, self.ledger.tip) and not self._superseded(epoch):
                self._fail("Z8", f"server {sid} leads epoch {epoch} without the committed 0x{self.ledger.tip:x}")

    def dumps(self, sid: int, zxid: int) -> None:
        """A server sends a SNAP of its tree at `zxid`, before the NEWLEADER."""
        shadow, epochs = self.ledger.shadows[sid], self._epochs[sid]
        initial = self._initial.get(epochs.current, shadow.durable)
        if not self._contains(zxid, initial):
            self._fail("Z7", f"server {sid} sends a snapshot of 0x{zxid:x}, its history goes up to 0x{initial:x}")

    def _superseded(self, epoch: int) -> bool:
        """Whether a later epoch is established: the leader of this one is too late, and will find no quorum."""
        return any(other > epoch for other in self.ledger.leaders)

    def established(self, sid: int, epoch: int) -> None:
        """A majority must have entered the epoch of a leader that serves, so that every later leader knows of it."""
        voters = [shadow for shadow in self.ledger.shadows.values() if shadow.voter]
        entered = [each.sid for each in voters if self._epochs[each.sid].current >= epoch or each.damaged]
        if len(entered) < self.ledger.majority:
            self._fail("Z1", f"server {sid} leads epoch {epoch}, which only {entered} have entered")
