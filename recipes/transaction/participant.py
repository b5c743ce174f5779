"""Who takes part in a transaction: databases, services, files. A small interface, which any of them can fill."""

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
    """The global id of one branch: what a participant knows it by, on every connection and in every process.

    fleet: of the coordinators of one path and name, 8 hexadecimal digits, made with the path. transaction: random bits
    and the store's epoch, unique for ever. participant: its name in the coordinator's configuration.
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
        """The id in `text`, None where that is somebody else's."""
        found = _ID.fullmatch(text)
        return cls(*found.groups()) if found else None


class Prepared(NamedTuple):
    """A prepared transaction as its database lists it, whoever made it.

    id: the database's own. ours: the branch that it is, of whatever fleet; None for what other software has prepared.
    age: seconds since it was prepared, None where the database does not tell. locks: what it holds, in words, as far
    as the database tells.
    """

    id: str
    ours: BranchId | None
    age: float | None
    locks: tuple[str, ...]


class Waiting(NamedTuple):
    """A branch that is prepared and awaits its outcome.

    protocol: THREE_PHASE where `pre_commit` prepared it, TWO_PHASE where `prepare` did. seconds: for how long.
    """

    branch: BranchId
    protocol: stages.CommitProtocol
    seconds: float


class TransactionParticipant(Protocol):
    """What a coordinator asks of a database or service. Each answer is an Answer, or a Reply that also says why.

    Each call may come again, from any process, after any crash, and has the same outcome then. What it raises counts as
    Answer.UNKNOWN; so does a call that takes too long, which is cancelled.

    A participant may also have `async open()`, which a coordinator awaits at its beginning: it raises OSError where it
    is away, and is called again later, or ConfigError where it will never do; `async begin(branch)`, whose result
    `tx.enlist` returns; `async forget(branch)`: everybody knows the outcome, nobody will ask again; `async prepared()`,
    for operators: every prepared transaction there is, as `Prepared`, those of others too; `async waiting()`: a Waiting
    for each branch that `recover` names; and `async marks(older)`, where what it keeps of branches that ended does not
    go by itself: those that did so more than `older` seconds ago.
    """

    async def prepare(self, branch: BranchId) -> Answer | Reply:
        """Make the branch's work durable and vote: PREPARED, READ_ONLY, REFUSED or UNKNOWN. A vote needs proof."""
        ...

    async def commit(self, branch: BranchId) -> Answer | Reply:
        """Make the work last. COMMITTED is proof that it does."""
        ...

    async def abort(self, branch: BranchId) -> Answer | Reply:
        """Undo the work, and see to it that a prepare that comes late is refused. ABORTED is proof of both."""
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
        """As `prepare`; all others could commit."""
        ...


def check_name(name: str) -> str:
    """A participant's or fleet's name that fits into a global id. Raises BadArguments."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadArguments("", f"the name {name!r}: expected 1 to 40 letters, digits, '_', '.' or '-'")
    return name
