"""The machines of a leader, a learner, and a learner as its leader sees it: each stage with each packet and event."""

import struct
from pathlib import Path

import pytest

from recipes.core.errors import InvariantBroken
from recipes.core.jute import opcodes as op
from recipes.core.jute import quorum as q
from recipes.core.jute.votes import LEADING, LOOKING, Notification
from recipes.core.zab.leader import Leader
from recipes.core.zab.learner import Learner
from recipes.core.zab.stages import (
    LEADER_EVENTS,
    LEARNER_EVENTS,
    LEARNER_PACKETS,
    PROGRESS_PACKETS,
    PROGRESS_SENT,
    Event,
    LeaderStage,
    LearnerStage,
    ProgressStage,
)
from tests.core.zab.conftest import boot_of, entry_of
from tests.core.zab.test_learner import E1, E2, RIGHT, Learning, commit, packet, proposal, snap

UNKNOWN = 99
KINDS = (*q.PACKET_NAMES, UNKNOWN)
IDLE = (q.COMMITANDACTIVATE, q.INFORMANDACTIVATE, UNKNOWN)  # nobody takes them in any stage


def names(stage):
    return stage.name


def refused(link, stage, kind):
    return link.wants_close and link.why_closed.startswith(f"{q.packet_name(kind)} in the stage {stage.name}: expected")


# The learner.

TRUNC = packet(q.TRUNC, E1 + 1)
STUCK = "its disk stops"
WAY = {
    LearnerStage.GREETING: (),
    LearnerStage.PROMISING: (STUCK, RIGHT[0]),
    LearnerStage.AGREED: RIGHT[:1],
    LearnerStage.TRUNCATING: (RIGHT[0], STUCK, TRUNC),
    LearnerStage.COLLECTING: RIGHT[:2],
    LearnerStage.STORING: (*RIGHT[:4], STUCK, RIGHT[4], proposal(E2 + 1)),
    LearnerStage.JOINED: (*RIGHT[:5], proposal(E2 + 1)),
    LearnerStage.CATCHING_UP: (*RIGHT[:5], STUCK, proposal(E2 + 1), commit(E2 + 1), RIGHT[5], proposal(E2 + 2)),
    LearnerStage.SERVING: (*RIGHT[:7],),
}


def learner_in(stage, rig_of):
    """A learner in this stage, to which its leader has said what is right."""
    it = Learning(rig_of(boots={1: boot_of(E1 + 1, current=1)})) if stage is not LearnerStage.DIALLING else None
    if it is None:
        rig = rig_of()
        rig.elect(3, 1)
        return rig[1]
    for step in WAY[stage]:
        if step is STUCK:
            it.node.disk_stuck = True
        else:
            it.hears(step)
    assert it.peer.learner.stage is stage
    return it


def said_by_leader(stage, kind, last_zxid):
    """A packet of this type that is right, where there is one."""
    zxid = last_zxid + 1 if last_zxid >> 32 == 2 or stage is LearnerStage.COLLECTING else E2 + 1
    if kind in (q.PROPOSAL, q.INFORM):
        return proposal(zxid, kind=kind)
    if kind == q.SNAP:
        return snap(E1 + 1)
    data = {q.LEADERINFO: q.encode_leader_info(), q.REVALIDATE: q.encode_revalidated(1, True)}.get(kind)
    zxids = {q.LEADERINFO: E2, q.NEWLEADER: E2, q.COMMIT: last_zxid, q.TRUNC: E1 + 1}
    return packet(kind, zxids.get(kind, 0), data)


@pytest.mark.parametrize("stage", WAY, ids=names)
def test_review_13_each_packet_in_each_stage_of_a_learner(rig_of, stage):
    for kind in KINDS:
        learner_takes(kind, stage, rig_of)


def learner_takes(kind, stage, rig_of):
    it = learner_in(stage, rig_of)
    learner, row = it.peer.learner, LEARNER_PACKETS[stage]
    if kind == q.SYNC and kind in row:
        it.peer.sync("a token", 1, 1, b"", ())
    it.link.receive(said_by_leader(stage, kind, learner._last_zxid))
    if kind in row:
        assert not it.link.wants_close, it.link.why_closed
        assert learner.stage in (row[kind].then or (stage,))
        return
    assert refused(it.link, stage, kind), it.link.why_closed
    text = f"the connection to server 3 is closed: {it.link.why_closed}"
    assert text in it.peer.take_outbox().notes
    if stage is LearnerStage.GREETING:  # the leader may not be one yet
        assert it.peer.learner is learner and learner.stage is LearnerStage.DIALLING
    else:
        assert it.peer.learner is None
        assert it.peer.why_looking == f"the leader 3 broke the protocol: {it.link.why_closed}"


@pytest.mark.parametrize("stage", LearnerStage, ids=names)
def test_review_13_each_event_in_each_stage_of_a_learner(rig_of, stage):
    for event in Event:
        happens_to_learner(event, stage, rig_of)


def happens_to_learner(event, stage, rig_of):
    it = learner_in(stage, rig_of)
    learner = it.peer.learner
    step = LEARNER_EVENTS[stage].get(event)
    if step is None:
        with pytest.raises(InvariantBroken, match=f"{event.name} cannot happen to a learner in the stage {stage.name}"):
            learner.happened(event)
        return
    if event is Event.CONNECTED:
        assert it.peer.dialled(3) is not None
    elif event is Event.UNREACHED:
        it.peer.dial_failed(3)
    elif event is Event.LOST:
        it.link.lost()
        if stage is not LearnerStage.GREETING:
            assert it.peer.learner is None and it.peer.why_looking == "the connection to the leader 3 is gone"
    else:
        it.node.disk_stuck = False
        it.settle()
    assert learner.stage in (step.then or (stage,))


# A learner as its leader sees it: 5 leads, the test speaks for 1 to 4.


class Leading:
    def __init__(self, rig_of):
        self.node = rig_of(voters=5)[5]
        self.peer = self.node.peer
        self.links = {}
        self.peer.notified(0, Notification(LEADING, 5, 0, 1, 0, b""))

    @property
    def leader(self):
        return self.peer.leader

    def progress(self, sid):
        return self.leader._by_sid[sid] if self.links[sid].sid == sid else self.leader._learners[self.links[sid].key]

    def settle(self):
        self.node.flush()

    def hears(self, sid, *packets, settle=True):
        for data in packets:
            self.links[sid].receive(data)
            if settle:
                self.settle()

    def connect(self, *sids):
        for sid in sids:
            self.links[sid] = self.peer.accept()

    def bring(self, stage, *sids):
        """Each of these as far as it comes, one step after the other."""
        for data in {
            ProgressStage.CONNECTED: (),
            ProgressStage.INTRODUCED: (followerinfo,),
            ProgressStage.READY: (followerinfo, ackepoch),
            ProgressStage.JOINED: (followerinfo, ackepoch, ack),
        }[stage]:
            for sid in sids:
                self.hears(sid, data(sid))


def followerinfo(sid, promised=0, kind=q.FOLLOWERINFO):
    return packet(kind, promised << 32, q.encode_learner_info(sid))


def ackepoch(_):
    return packet(q.ACKEPOCH, 0, q.encode_epoch(0))


def ack(_):
    return packet(q.ACK, E1)


def progress_in(stage, rig_of):
    """A leader whose learner 1 is in this stage, along with as many others as that takes."""
    it = Leading(rig_of)
    it.connect(1, 2)
    if stage is ProgressStage.INTRODUCED:
        it.bring(stage, 1)
    elif stage is ProgressStage.OFFERED:
        it.bring(ProgressStage.INTRODUCED, 1, 2)
    elif stage is ProgressStage.READY:
        it.bring(ProgressStage.INTRODUCED, 1, 2)
        it.hears(1, ackepoch(1))
    elif stage is not ProgressStage.CONNECTED:
        it.bring(ProgressStage.READY, 1, 2)
        if stage is not ProgressStage.SYNCING:
            it.hears(1, ack(1))
        if stage is ProgressStage.UP_TO_DATE:
            it.hears(2, ack(2))
    assert it.progress(1).stage is stage
    return it


def said_by_learner(kind):
    """A packet of this type that is right, where there is one."""
    if kind in (q.FOLLOWERINFO, q.OBSERVERINFO):
        return followerinfo(1, kind=kind)
    data = {
        q.ACKEPOCH: q.encode_epoch(0),
        q.PING: q.encode_touches([]),
        q.REQUEST: struct.pack(">qii", 1, 1, op.SET_DATA),
        q.REVALIDATE: q.encode_revalidate(1, 1000),
        q.PROPOSAL: entry_of(E1 + 1).payload,
    }.get(kind)
    return snap(0) if kind == q.SNAP else packet(kind, E1 if kind == q.ACK else 0, data)


def onward(then):
    """These stages, and those to which the leader goes on by itself."""
    stages = list(then)
    while stages[-1:] and stages[-1] in PROGRESS_SENT:
        stages.append(PROGRESS_SENT[stages[-1]][1])
    return stages


@pytest.mark.parametrize("stage", ProgressStage, ids=names)
def test_review_13_each_packet_in_each_stage_of_a_learner_as_its_leader_sees_it(rig_of, stage):
    for kind in KINDS:
        leader_takes(kind, stage, rig_of)


def leader_takes(kind, stage, rig_of):
    it = progress_in(stage, rig_of)
    progress, link, row = it.progress(1), it.links[1], PROGRESS_PACKETS[stage]
    link.receive(said_by_learner(kind))
    if kind in row:
        assert not link.wants_close, link.why_closed
        assert progress.stage in (onward(row[kind].then) or (stage,))
        return
    if kind == q.SNAP:  # a tree is not read from a learner, whatever its stage
        assert link.why_closed == "a SNAP from a server that does not lead"
    else:
        assert refused(link, stage, kind), link.why_closed
    other = "an unknown server" if stage is ProgressStage.CONNECTED else "server 1"
    assert f"the connection to {other} is closed: {link.why_closed}" in it.peer.take_outbox().notes
    assert progress not in it.leader.synced()


def test_a_learner_passes_through_its_stages_as_they_are_drawn(rig_of):
    it = Leading(rig_of)
    it.connect(1, 2)
    it.hears(2, followerinfo(2))
    passed, link = {}, it.links[1]

    def look(before, data, settle):
        it.hears(1, data, settle=settle)
        sent = q.PacketReader(1 << 20).feed(b"".join(part for part in link.out if isinstance(part, bytes)))
        link.out.clear()
        passed[before] = it.progress(1).stage, {each.type for each in sent}

    look(ProgressStage.CONNECTED, followerinfo(1), False)
    assert passed[ProgressStage.CONNECTED] == (ProgressStage.INTRODUCED, set())
    it.settle()
    look(ProgressStage.INTRODUCED, said_by_learner(q.PING), True)
    assert passed[ProgressStage.INTRODUCED] == (ProgressStage.OFFERED, {q.LEADERINFO})
    it.hears(1, ackepoch(1))
    assert it.progress(1).stage is ProgressStage.READY
    it.hears(2, ackepoch(2))
    look(ProgressStage.READY, said_by_learner(q.PING), True)
    assert passed[ProgressStage.READY] == (ProgressStage.SYNCING, {q.DIFF, q.NEWLEADER})
    it.hears(1, ack(1))
    assert it.progress(1).stage is ProgressStage.JOINED
    it.hears(2, ack(2))
    look(ProgressStage.JOINED, said_by_learner(q.PING), True)
    assert passed[ProgressStage.JOINED] == (ProgressStage.UP_TO_DATE, {q.UPTODATE})
    for stage, (packets, then) in PROGRESS_SENT.items():
        assert passed[stage][0] is then and passed[stage][1] <= set(packets)


# The leader.


def leader_in(stage, rig_of):
    """A leader in this stage; 1 and 2 have brought it there, 3 and 4 are connected and have sent nothing."""
    it = Leading(rig_of)
    it.connect(1, 2, 3, 4)
    if stage is LeaderStage.PROMISING:
        it.node.disk_stuck = True
        it.hears(3, followerinfo(3, promised=1))
        it.hears(1, followerinfo(1, promised=1), ackepoch(1))
    elif stage is LeaderStage.PROVING:
        it.hears(1, followerinfo(1, promised=1))
        it.hears(2, followerinfo(2))
    elif stage is not LeaderStage.GATHERING:
        it.bring(ProgressStage.INTRODUCED, 1, 2)
    if stage is LeaderStage.BEGINNING:
        it.hears(1, ackepoch(1))
        it.node.disk_stuck = True
        it.hears(2, ackepoch(2))
    if stage in (LeaderStage.SYNCING, LeaderStage.BROADCASTING, LeaderStage.GIVING_WAY):
        it.hears(1, ackepoch(1))
        it.hears(2, ackepoch(2))
    if stage in (LeaderStage.BROADCASTING, LeaderStage.GIVING_WAY):
        it.hears(1, ack(1))
        it.hears(2, ack(2))
    if stage is LeaderStage.GIVING_WAY:
        it.node.disk_stuck = True
        come_late(it, 4)
    assert it.leader.stage is stage
    return it


def come_late(it, sid):
    it.peer.notified(sid, Notification(LOOKING, sid, 0, 2, 0, b""))
    it.hears(sid, followerinfo(sid, promised=9), ackepoch(sid))


@pytest.mark.parametrize("stage", LeaderStage, ids=names)
def test_review_13_each_event_in_each_stage_of_a_leader(rig_of, stage):
    for event in Event:
        happens_to_leader(event, stage, rig_of)


def happens_to_leader(event, stage, rig_of):
    it = leader_in(stage, rig_of)
    leader, step = it.leader, LEADER_EVENTS[stage].get(event)
    if step is None:
        with pytest.raises(InvariantBroken, match=f"{event.name} cannot happen to a leader in the stage {stage.name}"):
            leader.happened(event)
        return
    if event is Event.STORED:
        it.node.disk_stuck = False
        it.settle()
        if stage is LeaderStage.GIVING_WAY:
            assert it.peer.why_looking == "server 4 has promised epoch 9 and can only join a later one"
    elif event is Event.UNPROVEN:
        it.node.disk_stuck = True
        it.links[1].lost()
    elif event is Event.LEARNER_READY and stage in (LeaderStage.PROVING, LeaderStage.PROMISING):
        it.node.disk_stuck = True
        sid = 1 if stage is LeaderStage.PROVING else 3
        it.hears(sid, ackepoch(sid))
    elif stage is LeaderStage.PROMISING:
        it.hears(4, followerinfo(4))
    else:
        told = {
            Event.LEARNER_INTRODUCED: (followerinfo(3),),
            Event.LEARNER_READY: (followerinfo(3), ackepoch(3)),
            Event.LEARNER_JOINED: (followerinfo(3), ackepoch(3), ack(3)),
        }[event]
        it.hears(3, *told)
        assert not it.links[3].wants_close, it.links[3].why_closed
    assert leader.stage in (stage, *step.then)


def test_a_later_promise_is_what_makes_a_leader_give_way(rig_of):
    it = leader_in(LeaderStage.BROADCASTING, rig_of)
    it.hears(3, followerinfo(3))
    assert it.leader.stage is LeaderStage.BROADCASTING
    it.node.disk_stuck = True
    come_late(it, 4)
    assert it.leader.stage is LeaderStage.GIVING_WAY


# The tables themselves, and their page.

MACHINES = {
    "leader": (LeaderStage, Leader, LEADER_EVENTS, {}),
    "progress": (ProgressStage, Leader, {}, PROGRESS_PACKETS),
    "learner": (LearnerStage, Learner, LEARNER_EVENTS, LEARNER_PACKETS),
}


def rows(name):
    """(stage, what comes, step): packets and events with one step in one row; what the leader sends by itself too."""
    stages, _, events, packets = MACHINES[name]
    for stage in stages:
        steps = {}
        for what, step in (*packets.get(stage, {}).items(), *events.get(stage, {}).items()):
            steps.setdefault(step, []).append(q.packet_name(what) if isinstance(what, int) else what.value)
        yield from ((stage, ", ".join(whats), step.method, step.then) for step, whats in steps.items())
        if name == "progress" and stage in PROGRESS_SENT:
            sent, then = PROGRESS_SENT[stage]
            yield stage, f"sent {', '.join(map(q.packet_name, sent))}", "", (then,)


def drawn(name):
    """What the page docs/zab.md shows of a machine."""
    stages = MACHINES[name][0]
    arrows, taken = {}, {stage: [] for stage in stages}
    for stage, what, method, then in rows(name):
        for after in then:
            arrows.setdefault((stage.name, after.name), []).append(what)
        step = what + (f": `{method}`" if method else "")
        taken[stage].append(step + (f" → {' or '.join(after.name for after in then)}" if then else ""))
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(stages)).name}"]
    lines += [f"    {before} --> {after} : {', '.join(whats)}" for (before, after), whats in arrows.items()]
    lines += ["```", "", "| stage | in which it | takes |", "|---|---|---|"]
    lines += [f"| {stage.name} | {stage.value} | {'<br>'.join(taken[stage])} |" for stage in stages]
    return "\n".join(lines)


@pytest.mark.parametrize("name", MACHINES)
def test_every_step_is_a_method_and_every_stage_is_reached(name):
    stages, machine, events, packets = MACHINES[name]
    for table in (events, packets):
        assert not table or list(table) == list(stages)
        assert all(callable(getattr(machine, step.method)) for row in table.values() for step in row.values())
    reached = {next(iter(stages))}
    while more := {each for stage, _, _, then in rows(name) if stage in reached for each in then} - reached:
        reached |= more
    assert reached == set(stages)
    assert all(not any(kind in row for row in packets.values()) for kind in IDLE)


@pytest.mark.parametrize("name", MACHINES)
def test_the_page_shows_the_tables(name):
    """Copy what this prints into the page when a table has changed."""
    page = (Path(__file__).parents[3] / "docs" / "zab.md").read_text()
    shown = page.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- end of {name} -->")[0]
    assert shown == drawn(name), drawn(name)
