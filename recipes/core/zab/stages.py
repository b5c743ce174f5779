"""The state machines behind an election, as tables: the leader, the learner, and a learner as its leader sees it.

A row says which method of the machine handles a packet or an event, and which stages that may lead to. A packet
without a row is refused: WireError names it, and the link is closed. An event without a row cannot happen: the server
stops. From every stage a machine ends when its peer looks for a leader again. docs/zab.md draws the tables.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple, TypeVar

from recipes.core.jute import quorum as q


class LearnerStage(Enum):
    """How far a learner has come with its leader."""

    DIALLING = "asks for a connection to the leader, or waits to ask again"
    GREETING = "has introduced itself; waits for the leader's epoch"
    PROMISING = "writes acceptedEpoch: the promise is sent once it is on disk"
    AGREED = "has acknowledged the epoch; waits for DIFF, TRUNC or SNAP"
    TRUNCATING = "cuts its log; packets wait until the log is cut"
    COLLECTING = "collects the leader's history, up to NEWLEADER; nothing of it is written yet"
    STORING = "writes that history, then currentEpoch; entries that come now are written after them"
    JOINED = "has acknowledged NEWLEADER; the leader waits for a quorum to do so"
    CATCHING_UP = "the leader is established; some txns that were committed by then are not applied yet"
    SERVING = "serves clients"


class ProgressStage(Enum):
    """How far a learner has come, as its leader sees it."""

    CONNECTED = "has not introduced itself"
    INTRODUCED = "has introduced itself; the leader has no epoch to offer yet"
    OFFERED = "was sent LEADERINFO; the leader waits for its promise"
    READY = "has promised the epoch and said where its log ends; it waits to be synced"
    SYNCING = "has been sent the history and NEWLEADER, and gets everything new from here on"
    JOINED = "has the history on disk, and counts; the leader is not established yet"
    UP_TO_DATE = "has been sent UPTODATE, and serves"


class LeaderStage(Enum):
    """How far a leader has come."""

    GATHERING = "waits until a quorum of voters has said which epochs they have promised"
    PROVING = "has offered an epoch to those alone whose promises it is above; waits until one of them has promised it"
    PROMISING = "writes acceptedEpoch, the epoch it will offer"
    OFFERING = "has offered its epoch; waits until a quorum has promised it"
    BEGINNING = "writes currentEpoch: from then on its log is the history of the epoch"
    SYNCING = "brings learners to its history; waits until a quorum has acknowledged NEWLEADER"
    BROADCASTING = "a quorum has joined: it proposes and commits"
    GIVING_WAY = (
        "goes on as in BROADCASTING while it writes, as acceptedEpoch, a later epoch that a learner has acknowledged"
    )


class Event(Enum):
    """What moves a machine, besides packets."""

    CONNECTED = "the connection to the leader is up"
    UNREACHED = "the leader cannot be reached"
    LOST = "the connection to the leader is gone"
    STORED = "the epoch is on disk"
    TRUNCATED = "the log is cut"
    APPLIED = "all txns that were committed when UPTODATE came are applied"
    LEARNER_INTRODUCED = "a learner has introduced itself"
    LEARNER_READY = "a learner has promised the epoch"
    LEARNER_JOINED = "a learner has acknowledged NEWLEADER"
    UNPROVEN = "no learner is left that was offered the epoch"


class Step(NamedTuple):
    """method: the name of the machine's method, looked up once per machine. then: the stages it may lead to."""

    method: str
    then: tuple[Enum, ...] = ()


_L, _P, _S = LearnerStage, ProgressStage, LeaderStage
_GONE: Final = {Event.LOST: Step("_leave")}

LEARNER_EVENTS: Final[Mapping[LearnerStage, Mapping[Event, Step]]] = {
    _L.DIALLING: {
        Event.CONNECTED: Step("_introduce", (_L.GREETING,)),
        Event.UNREACHED: Step("_dial_again_later"),
    },
    # The link closed before the leader sent a packet: behind a relay, a server that does not listen yet looks so.
    _L.GREETING: {Event.LOST: Step("_begin_anew", (_L.DIALLING,))},
    _L.PROMISING: {Event.STORED: Step("_ack_epoch", (_L.AGREED,)), **_GONE},
    _L.AGREED: _GONE,
    _L.TRUNCATING: {Event.TRUNCATED: Step("_take_held", (_L.COLLECTING,)), **_GONE},
    _L.COLLECTING: _GONE,
    _L.STORING: {Event.STORED: Step("_ack_new_leader", (_L.JOINED,)), **_GONE},
    _L.JOINED: _GONE,
    _L.CATCHING_UP: {Event.APPLIED: Step("_serve", (_L.SERVING,)), **_GONE},
    _L.SERVING: _GONE,
}

_PINGED: Final = {q.PING: Step("_pass_over")}
_JOINING: Final = {q.PROPOSAL: Step("_propose"), q.COMMIT: Step("_note_commit"), q.INFORM: Step("_inform")}
_FOLLOWING: Final = {
    q.PROPOSAL: Step("_propose"),
    q.COMMIT: Step("_commit"),
    q.INFORM: Step("_inform"),
    q.PING: Step("_answer_ping"),
    q.SYNC: Step("_take_sync"),
    q.REVALIDATE: Step("_take_revalidated"),
}

LEARNER_PACKETS: Final[Mapping[LearnerStage, Mapping[int, Step]]] = {
    _L.DIALLING: {},
    _L.GREETING: {q.LEADERINFO: Step("_accept_epoch", (_L.PROMISING, _L.AGREED)), **_PINGED},
    _L.PROMISING: _PINGED,
    _L.AGREED: {
        q.DIFF: Step("_take_diff", (_L.COLLECTING,)),
        q.TRUNC: Step("_truncate", (_L.TRUNCATING,)),
        q.SNAP: Step("_install", (_L.COLLECTING,)),
        **_PINGED,
    },
    _L.TRUNCATING: {
        **dict.fromkeys((q.PROPOSAL, q.COMMIT, q.INFORM, q.NEWLEADER), Step("_hold_back")),
        **_PINGED,
    },
    _L.COLLECTING: {
        q.PROPOSAL: Step("_collect"),
        q.COMMIT: Step("_note_commit"),
        q.INFORM: Step("_inform"),
        q.NEWLEADER: Step("_take_over_history", (_L.STORING,)),
        **_PINGED,
    },
    _L.STORING: {**_JOINING, **_PINGED},
    _L.JOINED: {**_JOINING, q.UPTODATE: Step("_start_serving", (_L.CATCHING_UP, _L.SERVING)), **_PINGED},
    _L.CATCHING_UP: _FOLLOWING,
    _L.SERVING: _FOLLOWING,
}

_TOUCHED: Final = {q.PING: Step("_take_touches")}

# The methods are those of the Leader.
PROGRESS_PACKETS: Final[Mapping[ProgressStage, Mapping[int, Step]]] = {
    _P.CONNECTED: dict.fromkeys((q.FOLLOWERINFO, q.OBSERVERINFO), Step("_introduce", (_P.INTRODUCED,))),
    _P.INTRODUCED: _TOUCHED,
    _P.OFFERED: {q.ACKEPOCH: Step("_take_epoch", (_P.READY,)), **_TOUCHED},
    _P.READY: _TOUCHED,
    _P.SYNCING: {q.ACK: Step("_acknowledge_history", (_P.JOINED,)), **_TOUCHED},
    _P.JOINED: {q.ACK: Step("_acknowledge"), **_TOUCHED},
    _P.UP_TO_DATE: {
        q.ACK: Step("_acknowledge"),
        q.PING: Step("_take_answer"),
        q.REQUEST: Step("_take_request"),
        q.REVALIDATE: Step("_take_revalidate"),
    },
}

# A learner enters the other stages when the leader sends it these packets, once the leader's own stage allows it.
PROGRESS_SENT: Final[Mapping[ProgressStage, tuple[tuple[int, ...], ProgressStage]]] = {
    _P.INTRODUCED: ((q.LEADERINFO,), _P.OFFERED),
    _P.READY: ((q.DIFF, q.TRUNC, q.SNAP, q.NEWLEADER), _P.SYNCING),
    _P.JOINED: ((q.UPTODATE,), _P.UP_TO_DATE),
}

LEADER_EVENTS: Final[Mapping[LeaderStage, Mapping[Event, Step]]] = {
    _S.GATHERING: {Event.LEARNER_INTRODUCED: Step("_count_promise", (_S.PROVING, _S.PROMISING))},
    _S.PROVING: {
        Event.LEARNER_INTRODUCED: Step("_wait"),
        Event.LEARNER_READY: Step("_take_proof", (_S.PROMISING,)),
        Event.UNPROVEN: Step("_gather_again", (_S.GATHERING, _S.PROMISING)),
    },
    _S.PROMISING: {
        Event.LEARNER_INTRODUCED: Step("_wait"),
        Event.LEARNER_READY: Step("_compare_history"),
        Event.STORED: Step("_fix_epoch", (_S.OFFERING, _S.BEGINNING)),
    },
    _S.OFFERING: {
        Event.LEARNER_INTRODUCED: Step("_offer_epoch"),
        Event.LEARNER_READY: Step("_count_history", (_S.BEGINNING,)),
    },
    _S.BEGINNING: {
        Event.LEARNER_INTRODUCED: Step("_offer_epoch"),
        Event.LEARNER_READY: Step("_compare_history"),
        Event.STORED: Step("_start_syncing", (_S.SYNCING, _S.BROADCASTING)),
    },
    _S.SYNCING: {
        Event.LEARNER_INTRODUCED: Step("_offer_epoch"),
        Event.LEARNER_READY: Step("_sync"),
        Event.LEARNER_JOINED: Step("_count_joined", (_S.BROADCASTING,)),
    },
    _S.BROADCASTING: {
        Event.LEARNER_INTRODUCED: Step("_offer_epoch_late"),
        Event.LEARNER_READY: Step("_sync_or_give_way", (_S.GIVING_WAY,)),
        Event.LEARNER_JOINED: Step("_admit"),
    },
    _S.GIVING_WAY: {
        Event.LEARNER_INTRODUCED: Step("_offer_epoch"),
        Event.LEARNER_READY: Step("_sync_or_wait"),
        Event.LEARNER_JOINED: Step("_admit"),
        Event.STORED: Step("_give_way"),
    },
}

_Stage = TypeVar("_Stage", bound=Enum)
_Input = TypeVar("_Input", int, Event)


def bound(machine: object, table: Mapping[_Stage, Mapping[_Input, Step]]) -> dict[_Stage, dict[_Input, Any]]:
    """The table with the machine's methods in place of their names. To be made once per machine, never per packet."""
    return {stage: {what: getattr(machine, step.method) for what, step in row.items()} for stage, row in table.items()}


def refusal(stage: Enum, packet_type: int, row: Mapping[int, object]) -> str:
    """The error text for a packet that has no row in this stage."""
    expected = ", ".join(map(q.packet_name, row)) or "none"
    return f"{q.packet_name(packet_type)} in the stage {stage.name}: expected {expected}"
