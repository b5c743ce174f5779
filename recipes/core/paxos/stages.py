"""The tables of Multi-Paxos: what an acceptor, and an acceptor as its proposer sees it, take in each stage.

docs/multi-paxos.md draws them; replicas/stages.py says what a row means.
"""

from collections.abc import Mapping
from typing import Final

from recipes.core.paxos import wire as p
from recipes.core.replicas import wire as w
from recipes.core.replicas.stages import FollowerStage, FollowerTable, ProgressStage, ProgressTable, Step

_F, _P = FollowerStage, ProgressStage

FOLLOWER_MESSAGES: Final[FollowerTable] = {
    _F.DIALLING: {},
    _F.GREETING: {
        w.Hello: Step("_greeted", (_F.MATCHING,)),
        w.Refused: Step("_refused"),
        p.Learn: Step("_report"),
    },
    _F.MATCHING: {
        w.Append: Step("_match", (_F.MATCHING, _F.CATCHING_UP, _F.SERVING)),
        w.Snapshot: Step("_begin_snapshot", (_F.INSTALLING,)),
        w.Refused: Step("_refused"),
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
PROGRESS_MESSAGES: Final[ProgressTable] = {
    _P.CONNECTED: {w.Hello: Step("_introduce", (_P.PROMISING, _P.PROBING, _P.DUMPING, _P.REFUSED))},
    _P.PROMISING: {p.Promise: Step("_promised", (_P.PROMISING, _P.PROBING)), p.Report: Step("_reported")},
    _P.PROBING: {
        p.Promise: Step("_pass_over"),
        w.Appended: Step("_matched", (_P.REPLICATING, _P.DUMPING, _P.REFUSED)),
        w.Conflict: Step("_back_off", (_P.PROBING, _P.DUMPING, _P.REFUSED)),
    },
    _P.DUMPING: {
        p.Promise: Step("_pass_over"),
        w.Appended: Step("_pass_over"),
        w.Conflict: Step("_pass_over"),
    },
    _P.REPLICATING: {
        p.Promise: Step("_pass_over"),
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
    _P.PROMISING: ("a majority has promised, and this server has the log to propose", _P.PROBING),
    _P.DUMPING: ("sent SNAPSHOT, PART, END", _P.REPLICATING),
}
