"""Participants of a transaction, such as databases, services and files: the small interface that each implements."""

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self, runtime_checkable

from recipes.core.errors import BadArguments
from recipes.transaction import stages
from recipes.transaction.branch import Answer, Reply

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_PREFIX = "recipes"
_ID = re.compile(rf"{_PREFIX}:([A-Za-z0-9]{{1,16}}):([A-Za-z0-9-]{{1,40}}):({_NAME.pattern})")


class BranchId(NamedTuple):
    """The global id of one branch, the same on every connection and in every process.

    fleet: the id of the coordinators' fleet, 8 hexadecimal digits, made with the path. transaction: random bits and the
    store's epoch, unique for ever. participant: its name in the coordinator's configuration.
    """

    fleet: str
    transaction: str
    participant: str

    def __str__(self) -> str:
        """At most 90 characters: PostgreSQL takes 200 bytes, XA 64 each for both halves."""
        return f"{self.gtrid}:{self.participant}"

    @property
    def gtrid(self) -> str:
        """The part that all branches of one transaction share, at most 48 characters."""
        return f"{_PREFIX}:{self.fleet}:{self.transaction}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The id in `text`; None if it is not one of ours."""
        found = _ID.fullmatch(text)
        return cls(*found.groups()) if found else None


class Prepared(NamedTuple):
    """A prepared transaction as its database lists it, whoever made it.

    id: the database's own. ours: the branch, of any fleet; None if other software prepared it. age: seconds since it
    was prepared; None if the database does not tell. locks: what it holds, in words, as far as the database tells.
    """

    id: str
    ours: BranchId | None
    age: float | None
    locks: tuple[str, ...]


class Waiting(NamedTuple):
    """A branch that is prepared and awaits its outcome.

    protocol: THREE_PHASE if `pre_commit` prepared it, TWO_PHASE if `prepare` did. seconds: since it was prepared.
    """

    branch: BranchId
    protocol: stages.CommitProtocol
    seconds: float


class TransactionParticipant(Protocol):
    """What a coordinator asks of a database or service. Each answer is an Answer, or a Reply that also says why.

    Each call may be repeated, from any process, after any crash, and must then have the same outcome. An exception
    counts as Answer.UNKNOWN; so does a call that takes too long, which is cancelled.

    A participant may also have these methods:

    - `async open()`: awaited when a coordinator starts. It raises OSError if the participant is away, and is then
      called again later, or ConfigError if it can never work.
    - `async begin(branch)`: `tx.enlist` returns its result.
    - `async forget(branch)`: everybody knows the outcome, and nobody will ask again.
    - `async forget_all(branches)`: the same of many branches in one call, for participants to which that is cheaper; a
      coordinator then calls this in place of `forget` for its own transactions.
    - `async prepared()`: for operators; every prepared transaction as `Prepared`, those of others included.
    - `async waiting()`: a Waiting for each branch that `recover` names.
    - `async marks(older)`: the branches that ended more than `older` seconds ago and still have a mark; for
      participants whose marks do not go by themselves.
    """

    async def prepare(self, branch: BranchId) -> Answer | Reply:
        """Make the branch's work durable and vote: PREPARED, READ_ONLY, REFUSED or UNKNOWN. A vote needs proof."""
        ...

    async def commit(self, branch: BranchId) -> Answer | Reply:
        """Make the work last. COMMITTED is proof that it does."""
        ...

    async def abort(self, branch: BranchId) -> Answer | Reply:
        """Undo the work, and refuse a prepare that arrives later. ABORTED is proof of both."""
        ...

    async def recover(self) -> Sequence[BranchId]:
        """The branches that are prepared and await their outcome, those of other fleets too."""
        ...


@runtime_checkable
class ThreePhaseParticipant(TransactionParticipant, Protocol):
    """A participant that can serve three-phase commit."""

    async def can_commit(self, branch: BranchId) -> Answer | Reply:
        """Whether it could commit: check connection, limits and constraints, and hold nothing."""
        ...

    async def pre_commit(self, branch: BranchId) -> Answer | Reply:
        """As `prepare`, once all participants said that they could commit."""
        ...


def check_name(name: str) -> str:
    """The name of a participant or fleet, if it fits into a global id. Raises BadArguments."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadArguments("", f"the name {name!r}: expected 1 to 40 letters, digits, '_', '.' or '-'")
    return name
