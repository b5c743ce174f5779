"""The tables of a follower, and of a follower as its leader sees it: each stage with each message; and their page."""

import pytest

from recipes.core.jute.txns import blank_txn
from recipes.core.raft.follower import Follower
from recipes.core.raft.leader import Leader
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Kind
from recipes.core.replicas.stages import FollowerStage, ProgressStage
from recipes.core.replicas.tables import (
    FOLLOWER_MESSAGES,
    FOLLOWER_MOVES,
    PROGRESS_MESSAGES,
    PROGRESS_MOVES,
)
from recipes.core.replication import Entry
from tests.core.raft.rig import Alone
from tests.core.replicas.tables import Table

T1 = 1 << 32
SAID = {
    w.Hello: RAFT_MESSAGES.encode_hello(0, 2, 1, 0),
    w.Refused: w.encode_refused("no"),
    w.Append: w.encode_append(1, 0, 0, 1, ()),
    w.Appended: w.encode_appended(1, 0, 0, 1),
    w.Conflict: w.encode_conflict(1, 0, 0),
    w.Snapshot: w.encode_snapshot(1, 0),
    w.Part: next(w.encode_parts(iter([b"tree"]), lambda: 0)),
    w.End: next(w.encode_parts(iter([]), lambda: 0)),
    w.Forward: w.encode_forward(9, 4, 5, b"", ()),
    w.SyncAnswered: w.encode_synced(),
    w.AskSession: w.encode_revalidate(9, 4000),
    w.SessionAnswer: w.encode_revalidated(9, True),
}


def names(stage):
    return stage.name


def right(it, kind):
    return RAFT_MESSAGES.encode_hello(it.peer.ensemble, 2, 1, 0) if kind is w.Hello else SAID[kind]


def follower_in(stage):
    it = Alone()
    it.hears(2, Kind.LEADS, 1)
    link = it.peer.dialled(2)
    if stage is FollowerStage.GREETING:
        it.turn()
        return it, link
    link.receive(right(it, w.Hello))
    if stage is FollowerStage.INSTALLING:
        link.receive(SAID[w.Snapshot])
    elif stage is not FollowerStage.MATCHING:
        link.receive(SAID[w.Append])
    if stage is FollowerStage.SERVING:
        link.receive(w.encode_append(1, 0, T1 + 1, 2, [Entry(T1 + 1, blank_txn(T1 + 1))]))
    it.turn()
    assert it.peer.follower.stage is stage
    return it, link


@pytest.mark.parametrize("stage", [stage for stage in FollowerStage if stage is not FollowerStage.DIALLING], ids=names)
def test_each_message_in_each_stage_of_a_follower(stage):
    for kind in SAID:
        it, link = follower_in(stage)
        follower, row = it.peer.follower, FOLLOWER_MESSAGES[stage]
        if kind is w.SyncAnswered and kind in row:
            it.peer.sync("a token", 1, 1, b"", ())
        link.receive(right(it, kind))
        if kind not in row and stage is FollowerStage.GREETING:
            assert "does not speak raft" in link.why_closed
        elif kind not in row:
            assert link.why_closed.startswith(f"{RAFT_MESSAGES.name_of(kind)} in the stage {stage.name}: expected")
            assert it.peer.follower is None
        elif kind is w.Refused:
            assert link.why_closed == "no"
        else:
            assert not link.wants_close, link.why_closed
            assert follower.stage in (row[kind].then or (stage,))


def progress_in(stage):
    it = Alone()
    it.lead()
    link = it.peer.accept()
    if stage is ProgressStage.REFUSED:
        link.receive(RAFT_MESSAGES.encode_hello(0, 2, 1, 0))
    elif stage is ProgressStage.DUMPING:
        link.receive(RAFT_MESSAGES.encode_hello(it.peer.ensemble, 2, 1, -1))
    elif stage is not ProgressStage.CONNECTED:
        link.receive(right(it, w.Hello))
    if stage is ProgressStage.REPLICATING:
        link.receive(SAID[w.Appended])
    it.turn()
    progress = it.peer.leader._links[link.key]
    assert progress.stage is stage
    return it, link, progress


@pytest.mark.parametrize("stage", PROGRESS_MESSAGES, ids=names)
def test_each_message_in_each_stage_of_a_followers_progress(stage):
    for kind in SAID:
        it, link, progress = progress_in(stage)
        row = PROGRESS_MESSAGES[stage]
        link.receive(right(it, kind))
        if stage is ProgressStage.REFUSED:
            assert not link.wants_close  # it may not have read yet that it is refused
        elif kind in row:
            assert not link.wants_close, link.why_closed
            assert progress.stage in (row[kind].then or (stage,))
        elif stage is ProgressStage.CONNECTED and kind is not w.Refused:
            assert "does not speak raft" in link.why_closed
        else:
            assert link.why_closed.startswith(f"{RAFT_MESSAGES.name_of(kind)} in the stage {stage.name}: expected")


# The tables themselves, and their page.

TABLES = {
    "follower": Table(RAFT_MESSAGES, Follower, FOLLOWER_MESSAGES, FOLLOWER_MOVES),
    "progress": Table(RAFT_MESSAGES, Leader, PROGRESS_MESSAGES, PROGRESS_MOVES),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_step_is_a_method_and_every_stage_is_reached(name):
    TABLES[name].check_whole()


@pytest.mark.parametrize("name", TABLES)
def test_the_page_shows_the_tables(name):
    TABLES[name].check_page("raft.md", name)
