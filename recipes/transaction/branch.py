"""A participant's side of one branch, as a table: its answer to each request, and what it does before the answer.

The table is pure; the file-backed and the in-memory participants run it. A database has states of its own, which its
participant translates into these answers. A branch that has ended leaves a mark until the coordinator sends FORGET.
With the mark a repeated request gets the same answer, an abort that arrives before any prepare is remembered (an empty
abort), and a prepare that arrives after the abort is refused (a late prepare).

Source: Skeen, Nonblocking Commit Protocols (1981), the states of a site; the marks are ours.
"""

from enum import Enum
from types import MappingProxyType
from typing import NamedTuple


class BranchState(Enum):
    """Where a branch stands at its participant."""

    ABSENT = "nothing is known of it, or its work is not durable yet"
    PREPARED = "its work is durable, with what undoes it; it awaits the outcome"
    COMMITTED = "its work is done for good"
    ABORTED = "its work was undone, or never will be done"


class Request(Enum):
    """A request to a participant."""

    CAN_COMMIT = "3PC: whether it could commit, which binds nobody"
    PREPARE = "make the work durable and vote (3PC: PreCommit)"
    COMMIT = "make the work last"
    ABORT = "undo the work"
    TIME_UP = "3PC: nobody has told the outcome for too long"
    FORGET = "everybody knows the outcome: drop the mark"


class Answer(Enum):
    """A participant's answer. Anything else that it says counts as UNKNOWN."""

    PREPARED = "it will be able to commit whatever happens"
    READ_ONLY = "it changed nothing: it needs no second phase"
    REFUSED = "it will not commit; its work is undone"
    COMMITTED = "proof that its work lasts"
    ABORTED = "proof that its work is undone"
    UNKNOWN = "nobody knows: ask again"
    CONTRADICTION = "it has done the opposite of what it is asked; an operator has to look"


class Reply(NamedTuple):
    """The reply to one request. why: the reason, in words, of REFUSED and UNKNOWN."""

    answer: Answer
    why: str = ""

    def __str__(self) -> str:
        return self.why or self.answer.value


class Deed(Enum):
    """What a participant does before it answers."""

    NOTHING = "nothing"
    CHECK = "check connection, limits and constraints; hold nothing"
    WRITE = "make the work and what undoes it durable"
    KEEP = "make the work last, and release what it holds"
    UNDO = "undo the work, and release what it holds"
    MARK = "remember that it was aborted before it was prepared"
    ASK = "ask the decision record"
    DROP = "drop the mark"


class Step(NamedTuple):
    """One row of the table. If `deed` finds a conflict, the answer is REFUSED and the state ABORTED."""

    state: BranchState
    deed: Deed
    answer: Answer


_ABSENT, _PREPARED, _COMMITTED, _ABORTED = BranchState

STEPS: MappingProxyType[tuple[BranchState, Request], Step] = MappingProxyType(
    {
        (_ABSENT, Request.CAN_COMMIT): Step(_ABSENT, Deed.CHECK, Answer.PREPARED),
        (_ABSENT, Request.PREPARE): Step(_PREPARED, Deed.WRITE, Answer.PREPARED),
        (_ABSENT, Request.COMMIT): Step(_ABSENT, Deed.NOTHING, Answer.UNKNOWN),
        (_ABSENT, Request.ABORT): Step(_ABORTED, Deed.MARK, Answer.ABORTED),
        (_ABSENT, Request.TIME_UP): Step(_ABSENT, Deed.NOTHING, Answer.UNKNOWN),
        (_ABSENT, Request.FORGET): Step(_ABSENT, Deed.NOTHING, Answer.UNKNOWN),
        (_PREPARED, Request.CAN_COMMIT): Step(_PREPARED, Deed.NOTHING, Answer.PREPARED),
        (_PREPARED, Request.PREPARE): Step(_PREPARED, Deed.NOTHING, Answer.PREPARED),
        (_PREPARED, Request.COMMIT): Step(_COMMITTED, Deed.KEEP, Answer.COMMITTED),
        (_PREPARED, Request.ABORT): Step(_ABORTED, Deed.UNDO, Answer.ABORTED),
        (_PREPARED, Request.TIME_UP): Step(_PREPARED, Deed.ASK, Answer.UNKNOWN),
        (_PREPARED, Request.FORGET): Step(_PREPARED, Deed.NOTHING, Answer.UNKNOWN),
        (_COMMITTED, Request.CAN_COMMIT): Step(_COMMITTED, Deed.NOTHING, Answer.COMMITTED),
        (_COMMITTED, Request.PREPARE): Step(_COMMITTED, Deed.NOTHING, Answer.COMMITTED),
        (_COMMITTED, Request.COMMIT): Step(_COMMITTED, Deed.NOTHING, Answer.COMMITTED),
        (_COMMITTED, Request.ABORT): Step(_COMMITTED, Deed.NOTHING, Answer.CONTRADICTION),
        (_COMMITTED, Request.TIME_UP): Step(_COMMITTED, Deed.NOTHING, Answer.COMMITTED),
        (_COMMITTED, Request.FORGET): Step(_ABSENT, Deed.DROP, Answer.COMMITTED),
        (_ABORTED, Request.CAN_COMMIT): Step(_ABORTED, Deed.NOTHING, Answer.REFUSED),
        (_ABORTED, Request.PREPARE): Step(_ABORTED, Deed.NOTHING, Answer.REFUSED),
        (_ABORTED, Request.COMMIT): Step(_ABORTED, Deed.NOTHING, Answer.CONTRADICTION),
        (_ABORTED, Request.ABORT): Step(_ABORTED, Deed.NOTHING, Answer.ABORTED),
        (_ABORTED, Request.TIME_UP): Step(_ABORTED, Deed.NOTHING, Answer.ABORTED),
        (_ABORTED, Request.FORGET): Step(_ABSENT, Deed.DROP, Answer.ABORTED),
    }
)
