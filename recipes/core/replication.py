"""The seam between a server and whatever replicates its txns.

A Member hands each txn it prepared to a Replica and applies what comes back as committed. What the Replica needs
from outside comes in as method calls (a txn to propose, "this is on disk", a tick); what it decides piles up in one
Ready per turn. A Replica never sees the tree: a payload is bytes.
"""

from collections import deque
from typing import Protocol

from recipes.core.errors import invariant
from recipes.core.jute.txns import Txn


class Entry:
    """One txn in the replicated order.

    payload: the serialised txn with its digest; the same bytes go to every log and every peer.
    txn, digest: its decoded form, and the tree's digest after it, where it was made on this server; else None.
    """

    __slots__ = ("digest", "payload", "txn", "zxid")

    def __init__(self, zxid: int, payload: bytes, txn: Txn | None = None, digest: int | None = None) -> None:
        self.zxid = zxid
        self.payload = payload
        self.txn = txn
        self.digest = digest

    def __repr__(self) -> str:
        return f"Entry(0x{self.zxid:x}, {len(self.payload)} bytes)"


class Ready:
    """What a turn has decided.

    writes: entries to put on disk, in this order, before `flushed` is called with the last one's zxid.
    commits: entries a quorum has on disk, to be applied in this order.
    """

    __slots__ = ("commits", "writes")

    def __init__(self) -> None:
        self.writes: list[Entry] = []
        self.commits: list[Entry] = []


class Replica(Protocol):
    """Orders entries and says when they are committed."""

    role: str  # standalone, leader, follower, observer: as `srvr` prints it

    def propose(self, entry: Entry) -> None:
        """Take a new entry, the successor of the last one."""

    def flushed(self, zxid: int) -> None:
        """Everything up to `zxid` is on this server's disk."""

    def take_ready(self) -> Ready:
        """What has been decided since the last call."""


class Standalone:
    """The Replica of a server alone: what its own disk holds is committed."""

    __slots__ = ("_last_zxid", "_outstanding", "_ready", "role")

    def __init__(self, last_zxid: int) -> None:
        self.role = "standalone"
        self._last_zxid = last_zxid
        self._outstanding: deque[Entry] = deque()
        self._ready = Ready()

    def propose(self, entry: Entry) -> None:
        """Take a new entry, the successor of the last one."""
        invariant(entry.zxid == self._last_zxid + 1, "entries must come in zxid order without a gap")
        self._last_zxid = entry.zxid
        self._outstanding.append(entry)
        self._ready.writes.append(entry)

    def flushed(self, zxid: int) -> None:
        """Commit everything up to `zxid`."""
        invariant(zxid <= self._last_zxid, "flushed what was never proposed")
        outstanding, commits = self._outstanding, self._ready.commits
        while outstanding and outstanding[0].zxid <= zxid:
            commits.append(outstanding.popleft())

    def take_ready(self) -> Ready:
        """What has been decided since the last call."""
        ready, self._ready = self._ready, Ready()
        return ready
