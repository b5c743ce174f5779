"""The stages of an election, of a follower, and of a follower as its leader sees it; and how a table of them is used.

Each protocol has tables of its own. A row says which method handles a message in a stage, and which stages that may
lead to. A message without a row is refused: WireError names it, and the link is closed.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from recipes.core.replicas.wire import Dialect


class ElectionStage(Enum):
    """What a server does to be elected."""

    RESTING = "follows, leads, waits for its disk, or lets a moment pass"
    ASKING = "asks whether it would be elected (pre-vote)"
    STANDING = "has begun a term and voted for itself; asks for votes once both are on disk"


class FollowerStage(Enum):
    """How far a follower or an observer has come with its leader."""

    DIALLING = "asks for a connection to the leader"
    GREETING = "has said who it is; waits for the leader's HELLO"
    MATCHING = "looks for the last entry that its log shares with the leader's"
    INSTALLING = "gets the leader's tree"
    CATCHING_UP = "takes entries; what was committed when it joined is not applied yet"
    SERVING = "serves clients"


class ProgressStage(Enum):
    """How far a follower has come, as its leader sees it."""

    CONNECTED = "has not said who it is"
    PROMISING = "has said who it is, while the leader collects promises"
    PROBING = "is asked for the last entry that both logs have"
    DUMPING = "is to get the tree, as soon as the Member has begun to dump it"
    REPLICATING = "gets every new entry, and counts"
    REFUSED = "was told why it is not taken"


class Step(NamedTuple):
    """method: the name of the machine's method, looked up once per machine. then: the stages it may lead to."""

    method: str
    then: tuple[Enum, ...] = ()


_Stage = TypeVar("_Stage", bound=Enum)
Table = Mapping[_Stage, Mapping[type[object], Step]]
FollowerTable = Mapping[FollowerStage, Mapping[type[object], Step]]
ProgressTable = Mapping[ProgressStage, Mapping[type[object], Step]]


def bound(
    machine: object, table: Mapping[_Stage, Mapping[type[object], Step]]
) -> dict[_Stage, dict[type[object], Any]]:
    """The table with the machine's methods in place of their names. To be made once per machine."""
    return {stage: {what: getattr(machine, step.method) for what, step in row.items()} for stage, row in table.items()}


def refusal(dialect: Dialect, stage: Enum, message: object, row: Mapping[type[object], object]) -> str:
    """The error text for a message that has no row in this stage."""
    expected = ", ".join(dialect.name_of(kind) for kind in row) or "none"
    return f"{dialect.name_of(type(message))} in the stage {stage.name}: expected {expected}"
