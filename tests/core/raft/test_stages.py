"""The tables of a follower, and of a follower as its leader sees it: each stage with each message; and their page."""

from pathlib import Path

import pytest

from recipes.core.jute.txns import blank_txn
from recipes.core.raft import wire as w
from recipes.core.raft.ballots import Kind
from recipes.core.raft.follower import Follower
from recipes.core.raft.leader import Leader
from recipes.core.raft.stages import (
    FOLLOWER_MESSAGES,
    FOLLOWER_MOVES,
    PROGRESS_MESSAGES,
    PROGRESS_MOVES,
    FollowerStage,
    ProgressStage,
)
from recipes.core.replication import Entry
from tests.core.raft.rig import Alone

T1 = 1 << 32
SAID = {
    w.Hello: w.encode_hello(0, 2, 1, 0),
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
    return w.encode_hello(it.peer.ensemble, 2, 1, 0) if kind is w.Hello else SAID[kind]


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
            assert link.why_closed.startswith(f"{w.message_name(w.TYPES[kind])} in the stage {stage.name}: expected")
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
        link.receive(w.encode_hello(0, 2, 1, 0))
    elif stage is ProgressStage.DUMPING:
        link.receive(w.encode_hello(it.peer.ensemble, 2, 1, -1))
    elif stage is not ProgressStage.CONNECTED:
        link.receive(right(it, w.Hello))
    if stage is ProgressStage.REPLICATING:
        link.receive(SAID[w.Appended])
    it.turn()
    progress = it.peer.leader._links[link.key]
    assert progress.stage is stage
    return it, link, progress


@pytest.mark.parametrize("stage", ProgressStage, ids=names)
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
            assert link.why_closed.startswith(f"{w.message_name(w.TYPES[kind])} in the stage {stage.name}: expected")


# The tables themselves, and their page.

MACHINES = {
    "follower": (FollowerStage, Follower, FOLLOWER_MESSAGES, FOLLOWER_MOVES),
    "progress": (ProgressStage, Leader, PROGRESS_MESSAGES, PROGRESS_MOVES),
}


def rows(name):
    """(stage, what comes, method, stages it may lead to)."""
    stages, _, messages, moves = MACHINES[name]
    for stage in stages:
        for kind, step in messages[stage].items():
            yield stage, w.message_name(w.TYPES[kind]), step.method, step.then
        if stage in moves:
            what, then = moves[stage]
            yield stage, what, "", (then,)


def drawn(name):
    """What the page docs/raft.md shows of a machine."""
    stages = MACHINES[name][0]
    arrows, taken = {}, {stage: [] for stage in stages}
    for stage, what, method, then in rows(name):
        for after in then:
            if after is not stage:
                arrows.setdefault((stage.name, after.name), []).append(what)
        step = what + (f": `{method}`" if method else "")
        taken[stage].append(step + (f" → {' or '.join(after.name for after in then)}" if then else ""))
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(stages)).name}"]
    lines += [f"    {before} --> {after} : {', '.join(whats)}" for (before, after), whats in arrows.items()]
    lines += ["```", "", "| stage | in which it | takes |", "|---|---|---|"]
    lines += [f"| {stage.name} | {stage.value} | {'<br>'.join(taken[stage]) or 'nothing'} |" for stage in stages]
    return "\n".join(lines)


@pytest.mark.parametrize("name", MACHINES)
def test_every_step_is_a_method_and_every_stage_is_reached(name):
    stages, machine, messages, _ = MACHINES[name]
    assert list(messages) == list(stages)
    assert all(callable(getattr(machine, step.method)) for row in messages.values() for step in row.values())
    reached = {next(iter(stages))}
    while more := {each for stage, _, _, then in rows(name) if stage in reached for each in then} - reached:
        reached |= more
    assert reached == set(stages)


@pytest.mark.parametrize("name", MACHINES)
def test_the_page_shows_the_tables(name):
    """Copy what this prints into the page when a table has changed."""
    page = (Path(__file__).parents[3] / "docs" / "raft.md").read_text()
    shown = page.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- end of {name} -->")[0]
    assert shown == drawn(name), drawn(name)
