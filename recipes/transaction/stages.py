"""The coordinator's side of one transaction, as a table: two-phase and three-phase commit with a decision record.

The table is pure. The work of a stage depends on the stage alone and ends with one Event; `following` gives the next
stage. `driver.py` does the work, and the simulator runs the same code.

Sources: Gray, Notes on Data Base Operating Systems (1978), two-phase commit; Skeen, Nonblocking Commit Protocols
(1981), three-phase commit; Gray and Lamport, Consensus on Transaction Commit (2006), for a replicated decision.
"""

from enum import Enum
from types import MappingProxyType

from recipes.core.errors import InvariantBroken


class CommitProtocol(Enum):
    """The commit protocol of a transaction."""

    TWO_PHASE = "2pc"
    THREE_PHASE = "3pc"


class Stage(Enum):
    """Where a transaction stands at its coordinator."""

    WORKING = "the block runs; the store knows nothing of the transaction"
    ASKING = "3PC: each participant is asked whether it could commit; none holds anything yet"
    RECORDING = "the record with all branches is written, before any participant prepares"
    PREPARING = "each participant makes its branch durable and votes (3PC: PreCommit)"
    DECIDING_COMMIT = "all voted yes; the decision to commit is written, unless somebody else decided"
    DECIDING_ABORT = "somebody refused, or time is up; the decision to abort is written, unless somebody else decided"
    COMMITTING = "commit is decided; each participant is told until it proves that it has committed"
    ABORTING = "abort is decided; each participant is told until it proves that it has undone its branch"
    SETTLED = "every participant has proved the outcome"
    IN_DOUBT = "the session is over before the outcome was learned; another coordinator decides"


class Event(Enum):
    """The result of a stage's work."""

    ENDED = "the block ended without an exception"
    FAILED = "the block raised, or was cancelled"
    AGREED = "every participant said yes"
    REFUSED = "a participant said no, or its answer is unknown"
    TIME_UP = "the deadline has passed"
    WRITTEN = "the write was made"
    DENIED = "the store refuses the record"
    JOINED = "a branch was added to the record meanwhile"
    FOUND_COMMIT = "somebody else decided to commit"
    FOUND_ABORT = "somebody else decided to abort"
    PROVED = "every participant has proved the outcome"
    LOST = "the session is over"
    LOST_UNASKED = "the session is over, and nobody was asked to prepare"


Table = MappingProxyType[tuple[Stage, Event], Stage]

_WORKING, _ASKING, _RECORDING, _PREPARING = Stage.WORKING, Stage.ASKING, Stage.RECORDING, Stage.PREPARING
_TO_COMMIT, _TO_ABORT = Stage.DECIDING_COMMIT, Stage.DECIDING_ABORT
_COMMITTING, _ABORTING, _SETTLED, _IN_DOUBT = Stage.COMMITTING, Stage.ABORTING, Stage.SETTLED, Stage.IN_DOUBT

_SHARED = {
    # Nothing was recorded and nobody prepared: the branches are undone, and nothing is written to the store.
    (_WORKING, Event.FAILED): _ABORTING,
    (_WORKING, Event.TIME_UP): _ABORTING,
    (_WORKING, Event.LOST_UNASKED): _ABORTING,
    (_RECORDING, Event.WRITTEN): _PREPARING,
    # The record may be written or not: an abort that is written settles both cases.
    (_RECORDING, Event.TIME_UP): _TO_ABORT,
    (_RECORDING, Event.FAILED): _TO_ABORT,
    (_RECORDING, Event.FOUND_ABORT): _ABORTING,
    (_RECORDING, Event.DENIED): _ABORTING,
    # The record may be written or not: only this coordinator could have decided to commit, and nobody is prepared.
    (_RECORDING, Event.LOST_UNASKED): _ABORTING,
    (_PREPARING, Event.AGREED): _TO_COMMIT,
    (_PREPARING, Event.REFUSED): _TO_ABORT,
    (_PREPARING, Event.TIME_UP): _TO_ABORT,
    (_PREPARING, Event.FAILED): _TO_ABORT,
    (_PREPARING, Event.LOST): _IN_DOUBT,
    (_PREPARING, Event.LOST_UNASKED): _ABORTING,
    (_TO_COMMIT, Event.WRITTEN): _COMMITTING,
    (_TO_COMMIT, Event.JOINED): _PREPARING,
    (_TO_COMMIT, Event.FOUND_COMMIT): _COMMITTING,
    (_TO_COMMIT, Event.FOUND_ABORT): _ABORTING,
    (_TO_COMMIT, Event.FAILED): _TO_ABORT,
    (_TO_COMMIT, Event.TIME_UP): _TO_ABORT,
    (_TO_COMMIT, Event.LOST): _IN_DOUBT,
    (_TO_ABORT, Event.WRITTEN): _ABORTING,
    (_TO_ABORT, Event.JOINED): _TO_ABORT,
    (_TO_ABORT, Event.FOUND_COMMIT): _COMMITTING,
    (_TO_ABORT, Event.FOUND_ABORT): _ABORTING,
    (_TO_ABORT, Event.LOST): _IN_DOUBT,
    (_TO_ABORT, Event.LOST_UNASKED): _ABORTING,
    (_COMMITTING, Event.PROVED): _SETTLED,
    (_ABORTING, Event.PROVED): _SETTLED,
}

TABLES: MappingProxyType[CommitProtocol, Table] = MappingProxyType(
    {
        CommitProtocol.TWO_PHASE: MappingProxyType(_SHARED | {(_WORKING, Event.ENDED): _RECORDING}),
        CommitProtocol.THREE_PHASE: MappingProxyType(
            _SHARED
            | {
                (_WORKING, Event.ENDED): _ASKING,
                (_ASKING, Event.AGREED): _RECORDING,
                (_ASKING, Event.REFUSED): _ABORTING,
                (_ASKING, Event.TIME_UP): _ABORTING,
                (_ASKING, Event.FAILED): _ABORTING,
                (_ASKING, Event.LOST_UNASKED): _ABORTING,
            }
        ),
    }
)

DECIDED: frozenset[Stage] = frozenset({Stage.COMMITTING, Stage.ABORTING, Stage.SETTLED})


def following(protocol: CommitProtocol, stage: Stage, event: Event) -> Stage:
    """The stage after `event` in `stage`. Raises InvariantBroken if the event cannot happen there."""
    try:
        return TABLES[protocol][stage, event]
    except KeyError:
        raise InvariantBroken(f"{protocol.value}: {event.name} cannot happen in {stage.name}") from None
