"""The decision record of a transaction: one znode, whose version admits exactly one decision.

The record is written with all branches before the first participant prepares, and once more with the decision. A branch
that joins late and the decision compete for the same version. Every process reads the outcome here.
"""

import json
from collections.abc import Callable, Collection, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Self

from recipes.core import paths
from recipes.core.client.backoff import Backoff
from recipes.core.errors import (
    BadArguments,
    BadVersion,
    ConnectionLoss,
    MalformedValue,
    NodeExists,
    NoNode,
    SessionExpired,
    ThrottledOp,
    UnknownTransaction,
)
from recipes.transaction.stages import CommitProtocol
from recipes.transaction.writes import SharedWrites

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL, Stat


class Decision(Enum):
    """The outcome of a transaction. It never changes."""

    COMMIT = "commit"
    ABORT = "abort"


class Record(NamedTuple):
    """A decision record as it was read.

    owner: path of the znode of the coordinator that runs it. deadline: seconds from the transaction's beginning. begun:
    seconds since 1970 by the servers' clock; 0 if this record was made here and not read. decision: None while nobody
    has decided. why: who refused and why, in an abort.
    """

    id: str
    protocol: CommitProtocol
    branches: tuple[str, ...]
    owner: str
    deadline: float
    decision: Decision | None = None
    why: str = ""
    version: int = 0
    begun: float = 0.0

    def encode(self) -> bytes:
        """The data to store in the znode."""
        stored: dict[str, object] = {
            "protocol": self.protocol.value,
            "branches": list(self.branches),
            "owner": self.owner,
            "deadline": self.deadline,
        }
        if self.decision is not None:
            stored |= {"decision": self.decision.value, "why": self.why}
        return json.dumps(stored, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, path: str, data: bytes, stat: "Stat") -> Self:
        """The record in a znode. Raises MalformedValue."""
        try:
            stored = json.loads(data)
            decision = stored.get("decision")
            return cls(
                path.rpartition("/")[2],
                CommitProtocol(stored["protocol"]),
                tuple(map(str, stored["branches"])),
                str(stored["owner"]),
                float(stored["deadline"]),
                None if decision is None else Decision(decision),
                str(stored.get("why", "")),
                stat.version,
                stat.ctime / 1000,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MalformedValue(path, f"expected the record of a transaction, found {data[:60]!r}") from error


def takes_part(record: Record, participant: str) -> BadArguments:
    """The error for a participant that joins a transaction in which it takes part already."""
    return BadArguments("", f"{participant!r} takes part in {record.id} already, and may have voted")


class Records:
    """The records of one fleet of coordinators.

    folder: the parent znode of the records. acl: of each record. Writes take a `guard`: the path of a znode that must
    exist, else nothing is written. A coordinator passes its own znode, which goes with its session; recovery passes the
    znode of its term.
    """

    def __init__(self, client: "Client", folder: str, acl: "Sequence[ACL] | None" = None) -> None:
        self.client: Client = client
        self.folder: str = folder
        self._acl = acl
        self._writes = SharedWrites(client)

    def path(self, transaction: str) -> str:
        """The path of a transaction's record."""
        return paths.join(self.folder, transaction)

    async def read(self, transaction: str) -> Record | None:
        """The record; None if there is none (any more)."""
        path = self.path(transaction)
        try:
            return Record.decode(path, *await self.client.get(path))
        except NoNode:
            return None

    async def write(self, record: Record, guard: str) -> Record:
        """Write a new record, unless an earlier try has written it; return the record as it is now.

        Raises SessionExpired also when `guard` is gone.
        """
        losses = Backoff(self.client.random)
        while True:
            try:
                multi = self.client.multi()
                multi.create(self.path(record.id), record.encode(), acl=self._acl)
                await self._writes.apply(guard, multi)
            except NodeExists:  # by an earlier try whose reply was lost
                found = await self._read_anew(record.id)
                if found is not None:
                    return found
            except (ConnectionLoss, ThrottledOp):
                await losses.pause()
            except NoNode as error:
                raise SessionExpired(path=error.path) from error
            else:
                return record

    async def decide(
        self, record: Record, decision: Decision, guard: str, why: str = "", done: Collection[str] = ()
    ) -> Record:
        """Write the decision unless there is one, and return the record as it is then.

        done: branches that changed nothing and need not be told; they are removed from the record.
        If another branch has joined meanwhile, nothing is written and the record is returned undecided. Raises
        SessionExpired also when `guard` is gone, and UnknownTransaction when the record is gone: it was decided and
        settled meanwhile. Only the abort of a record that was never read may find none, and then writes it.
        """
        branches = tuple(name for name in record.branches if name not in done)
        decided = record._replace(branches=branches, decision=decision, why=why)
        losses = Backoff(self.client.random)
        while True:
            try:
                multi = self.client.multi()
                multi.set(self.path(record.id), decided.encode(), record.version)
                await self._writes.apply(guard, multi)
                return decided._replace(version=record.version + 1)
            except BadVersion:
                found = await self._read_anew(record.id)
                if found is not None:
                    return found
            except (ConnectionLoss, ThrottledOp):
                await losses.pause()  # then try again with the same version, which admits one write
            except NoNode as error:
                if error.path == guard:
                    raise SessionExpired(path=guard) from error
                if decision is Decision.COMMIT or record.begun:
                    raise UnknownTransaction(record.id, "its record is gone: it was settled meanwhile") from error
                # Write the abort as a new record, so that a create of it that is still under way comes too late.
                found = await self.write(decided, guard)
                if found.decision is not None or found.version != record.version:
                    return found

    async def join(self, transaction: str, participant: str) -> Record:
        """Add a branch to a transaction that is not decided yet; return the record. Competes with the decision.

        If the transaction is decided, nothing is added, and the returned record has the decision. Raises
        UnknownTransaction when there is no record: its block has not ended yet, or the transaction is settled; and
        BadArguments when the branch is there already: its vote may have been given, and more work would have none.
        """
        tried = False  # then it is there by an earlier try whose reply was lost

        def add(record: Record) -> Record | None:
            nonlocal tried
            if participant in record.branches and not tried:
                raise takes_part(record, participant)
            if record.decision is not None or participant in record.branches:
                return None
            tried = True
            return record._replace(branches=(*record.branches, participant))

        return await self.change(transaction, add)

    async def change(self, transaction: str, func: Callable[[Record], Record | None]) -> Record:
        """Replace the record with `func(record)`, unless that is None; return the record as it is then.

        Raises UnknownTransaction when there is no record, and ConnectionLoss when a try was lost and the record has
        gone since: it may have been changed before.
        """
        losses = Backoff(self.client.random)
        lost: ConnectionLoss | None = None
        while True:
            record = await self._read_anew(transaction)
            if record is None and lost is not None:
                raise lost
            if record is None:
                raise UnknownTransaction(transaction, f"there is no record of it in {self.folder}")
            changed = func(record)
            if changed is None:
                return record
            try:
                stat = await self.client.set(self.path(transaction), changed.encode(), record.version)
            except (BadVersion, NoNode):
                continue
            except ConnectionLoss as error:
                lost = error
                await losses.pause()
            except ThrottledOp:
                await losses.pause()
            else:
                return changed._replace(version=stat.version)

    async def _read_anew(self, transaction: str) -> Record | None:
        # The server that we are connected to now may lag behind the one that carried out our write.
        await self.client.sync(self.folder)
        return await self.read(transaction)
