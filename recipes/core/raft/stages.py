"""The state machines of raft, as tables: an election, a follower, and a follower as its leader sees it.

A row says which method handles a message in a stage, and which stages that may lead to. A message without a row is
refused: WireError names it, and the link is closed. docs/raft.md draws the tables.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple, TypeVar

from recipes.core.raft import wire as w


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
    PROBING = "is asked for the last entry that both logs have"
    DUMPING = "is to get the tree, as soon as the Member has begun to dump it"
    REPLICATING = "gets every new entry, and counts"
    REFUSED = "was told why it is not taken"


class Step(NamedTuple):
    """method: the name of the machine's method, looked up once per machine. then: the stages it may lead to."""

    method: str
    then: tuple[Enum, ...] = ()


_F, _P = FollowerStage, ProgressStage

FOLLOWER_MESSAGES: Final[Mapping[FollowerStage, Mapping[type[object], Step]]] = {
    _F.DIALLING: {},
    _F.GREETING: {w.Hello: Step("_greeted", (_F.MATCHING,)), w.Refused: Step("_refused")},
    _F.MATCHING: {
        w.Append: Step("_match", (_F.MATCHING, _F.CATCHING_UP, _F.SERVING)),
        w.Snapshot: Step("_begin_snapshot", (_F.INSTALLING,)),
    },
    _F.INSTALLING: {w.Part: Step("_take_part"), w.End: Step("_install", (_F.CATCHING_UP,))},
    _F.CATCHING_UP: {w.Append: Step("_append", (_F.CATCHING_UP, _F.SERVING))},
    _F.SERVING: {
        w.Append: Step("_append"),
        w.SyncAnswered: Step("_take_synced"),
        w.SessionAnswer: Step("_take_revalidated"),
    },
}

# The methods are those of the Leader.
PROGRESS_MESSAGES: Final[Mapping[ProgressStage, Mapping[type[object], Step]]] = {
    _P.CONNECTED: {w.Hello: Step("_introduce", (_P.PROBING, _P.DUMPING, _P.REFUSED))},
    _P.PROBING: {
        w.Appended: Step("_matched", (_P.REPLICATING, _P.DUMPING)),
        w.Conflict: Step("_back_off", (_P.PROBING, _P.DUMPING)),
    },
    _P.DUMPING: {w.Appended: Step("_pass_over"), w.Conflict: Step("_pass_over")},
    _P.REPLICATING: {
        w.Appended: Step("_acknowledged"),
        w.Conflict: Step("_pass_over"),
        w.Forward: Step("_take_request"),
        w.AskSession: Step("_take_revalidate"),
    },
    _P.REFUSED: {},
}

# What moves a machine besides messages: what happens, and the stage that it leads to.
FOLLOWER_MOVES: Final[Mapping[FollowerStage, tuple[str, FollowerStage]]] = {
    _F.DIALLING: ("the connection to the leader is up", _F.GREETING),
    _F.CATCHING_UP: ("everything that was committed is applied", _F.SERVING),
}
PROGRESS_MOVES: Final[Mapping[ProgressStage, tuple[str, ProgressStage]]] = {
    _P.DUMPING: ("sent SNAPSHOT, PART, END", _P.REPLICATING),
}

_Stage = TypeVar("_Stage", bound=Enum)


def bound(
    machine: object, table: Mapping[_Stage, Mapping[type[object], Step]]
) -> dict[_Stage, dict[type[object], Any]]:
    """The table with the machine's methods in place of their names. To be made once per machine."""
    return {stage: {what: getattr(machine, step.method) for what, step in row.items()} for stage, row in table.items()}


def refusal(stage: Enum, message: object, row: Mapping[type[object], object]) -> str:
    """The error text for a message that has no row in this stage."""
    expected = ", ".join(w.message_name(w.TYPES[kind]) for kind in row) or "none"
    return f"{w.message_name(w.TYPES[type(message)])} in the stage {stage.name}: expected {expected}"
