"""Each check on a trace made by hand: where it holds, and the one event at which it breaks."""

from collections.abc import Callable
from typing import Any

import pytest

from recipes.lab.casts import members_of, protocol_of
from recipes.lab.checks.registry import CHECKS
from recipes.lab.trace import VERSION, Event, Trace

ONE, TWO = [1, "p1"], [2, "p2"]
NOOP = [0, ["noop"]]


class Story:
    """Makes the events of a trace. `bad` is the number of the event that breaks the property."""

    def __init__(self, protocol: str, **settings: Any) -> None:
        members = members_of(protocol_of(protocol), {"acceptor": 3} if protocol in ("paxos", "2pc") else {}, {})
        sites = {name: kind for name, (kind, _) in members.items()}
        header = {"version": VERSION, "scenario": "by hand", "seed": 1, "protocol": protocol}
        self.trace = Trace(header | {"sites": sites, "settings": settings}, [])
        self.bad: int | None = None
        self._writes = 0
        for site in sites:
            self.add(site, "start", stored={})

    def add(self, site: str, kind: str, **more: Any) -> "Story":
        events: list[Event] = self.trace.events
        events.append({"i": len(events), "t": more.pop("t", len(events)), "n": site, "k": kind, **more})
        return self

    def write(self, site: str, what: str, value: Any) -> "Story":
        """A write, not yet durable."""
        self._writes += 1
        return self.add(site, "write", number=self._writes, what=what, value=value, bytes=1)

    def store(self, site: str, what: str, value: Any) -> "Story":
        """A write that becomes durable."""
        return self.write(site, what, value).add(site, "fsync", at="end", number=self._writes)

    def send(self, site: str, to: str, real: str, **fields: Any) -> "Story":
        number = len(self.trace.events)
        return self.add(site, "send", id=number, to=to, role="any", real=real, bytes=1, fields=fields)

    def call(self, site: str, number: int, *operation: Any) -> "Story":
        return self.add(site, "call", call=number, client="c1", op=list(operation), label="")

    def reply(self, site: str, number: int, value: Any, **more: Any) -> "Story":
        return self.add(site, "reply", call=number, outcome="ok", value=value, **more)

    def state(self, site: str, **shown: Any) -> "Story":
        return self.add(site, "state", **shown)

    def breaks(self) -> "Story":
        """The property breaks at the last event."""
        self.bad = len(self.trace.events) - 1
        return self


def chosen(value: Any = "a") -> Story:
    """A value that a1 and a2 have on disk from one epoch."""
    story = Story("paxos").call("p1", 1, "propose", value)
    return story.store("a1", "accepted:1", [ONE, value]).store("a2", "accepted:1", [ONE, value])


def log(protocol: str = "multi-paxos") -> Story:
    """A command of call 1 that a majority has in slot 1."""
    story, value = Story(protocol).call("s1", 1, "set", "x", 1), [1, ["set", "x", 1]]
    return story.store("s1", "accepted:1", [[1, "s1"], value]).store("s2", "accepted:1", [[1, "s1"], value])


def txn(stage: str) -> dict[str, Any]:
    return {"stage": stage, "redo": {"x": 1}, "undo": {}}


GOOD: list[tuple[str, Callable[[], Story]]] = [
    ("P1", lambda: chosen().store("a3", "accepted:1", [TWO, "a"])),
    ("P2", lambda: chosen()),
    ("P3", lambda: chosen().send("p2", "a1", "ACCEPT", slot=1, epoch=TWO, value="a")),
    ("P4", lambda: chosen().send("a1", "p2", "PROMISE", slot=1, epoch=TWO).write("a1", "accepted:1", [TWO, "a"])),
    ("P5", lambda: chosen().send("a1", "p1", "ACCEPTED", slot=1, epoch=ONE)),
    ("P6", lambda: chosen().send("p1", "a1", "PREPARE", slot=1, epoch=ONE).send("p2", "a1", "PREPARE", epoch=TWO)),
    ("P7", lambda: log().add("s1", "state", executed=[["set", "x", 1]])),
    ("P8", lambda: chosen().reply("p1", 1, "a")),
    ("A2", lambda: log().add("s1", "state", executed=[["a"], ["b"]]).add("s2", "state", executed=[["a"]])),
    ("A4", lambda: log().reply("s1", 1, 1)),
    ("V1", lambda: Story("paxos1").store("a1", "value", "a").store("a1", "value", "a")),
    ("V2", lambda: Story("paxos1").write("a1", "lock", ["p1", 1]).write("a1", "lock", None).write("a1", "lock", ["p2",
    2])), ("B1", lambda: pb_write().store("s3", "log:1", ENTRY).reply("s1", 1, 1)),
    ("B2", lambda: pb_write().store("s3", "log:1", ENTRY)),
    ("B3", lambda: Story("primary-backup").send("s1", "s3", "COPY", fence=[0, "s1"]).send("s2", "s3", "COPY", fence=[1,
    "s2"])), ("T1", lambda: Story("2pc").store("pa1", "txn:1", txn("committed")).store("pa2", "txn:2", txn("aborted"))),
    ("T2", lambda: voted("pa1", "pa2", "pa3").store("pa1", "txn:1", txn("committed"))),
    ("T3", lambda: Story("2pc").store("pa1", "txn:1", txn("prepared")).store("pa1", "txn:1", txn("aborted"))),
    ("T4", lambda: locked().write("pa1", "txn:1", txn("committed")).reply("pa1", 2, 1)),
    ("T5", lambda: doubt(1_000_000)),
]  # fmt: skip

# Of the servers themselves: entries A and B of epoch or term 1, C of 2.
A, B, C = "0x100000001", "0x100000002", "0x200000001"


def entry(story: Story, zxid: str, value: str, *sites: str) -> Story:
    for site in sites:
        story.store(site, f"log:{zxid}", value)
    return story


def timed_out(story: Story) -> Story:
    """A call a second later, without an answer."""
    story.add("s1", "call", call=1, client="c1", op=["set", "x", 1], label="", t=1_000_000)
    return story.add("s1", "reply", call=1, outcome="unknown", value="timed out", t=2_000_000)


def written(protocol: str) -> Story:
    """A write that two of three have, and that is acknowledged."""
    story = entry(Story(protocol).call("s1", 1, "set", "x", "1"), A, "set /x 1", "s1", "s2")
    return story.reply("s1", 1, 1, zxid=A)


def append(story: Story, site: str, to: str, term: int, commit: str = "0x0") -> Story:
    return story.send(site, to, "APPEND", term=term, commit=commit, prev="0x0", round=1)


def voted_for(number: int, term: int = 1) -> Story:
    """s2 has a term and a vote on disk."""
    return Story("raft").store("s2", "acceptedEpoch", term).store("s2", "raftVote", f"{term} {number}")


def shown(story: Story, applied: str, committed: str, last: str, **more: Any) -> Story:
    return story.state("s1", role="follower", applied=applied, committed=committed, last=last, **more)


GOOD += [
    ("RF1", lambda: append(append(Story("raft"), "s1", "s2", 1), "s2", "s1", 2)),
    ("RF2", lambda: voted_for(1).send("s2", "s1", "GRANT", term=1)),
    ("RF3", lambda: append(Story("raft"), "s1", "s2", 1)),
    ("RF4", lambda: entry(entry(Story("raft"), A, "a", "s1", "s2"), B, "b", "s1", "s2")),
    ("RF5", lambda: append(append(entry(Story("raft"), A, "a", "s1", "s2"), "s1", "s2", 1, A), "s2", "s1", 2)),
    ("RF6", lambda: entry(Story("raft").state("s1", applied="0x0"), A, "a", "s1").state("s1", applied=A)),
    ("RF7", lambda: append(Story("raft"), "s1", "s2", 1, A)),
    ("RF8", lambda: shown(Story("raft"), A, A, B)),
    ("RF9", lambda: shown(shown(Story("raft"), A, A, B), A, B, B)),
    ("RF10", lambda: append(entry(Story("raft"), A, "a", "s1", "s2"), "s1", "s2", 1, A)),
    ("Z1", lambda: Story("zab").store("s1", "currentEpoch", 1).send("s1", "s2", "PROPOSAL", zxid=A)),
    ("Z2", lambda: entry(Story("zab"), A, "a", "s1", "s2")),
    ("Z5", lambda: entry(Story("zab").state("s1", applied="0x0"), A, "a", "s1").state("s1", applied=A)),
    ("Z8", lambda: entry(Story("zab"), A, "a", "s1").send("s1", "s2", "NEWLEADER", zxid="0x200000000")),
    ("Z9", lambda: entry(Story("zab"), A, "a", "s2").send("s2", "s1", "ACK", zxid=A)),
    ("Z10", lambda: Story("zab").store("s1", "acceptedEpoch", 2).store("s1", "currentEpoch", 2)),
    ("Z11", lambda: committing(entry(Story("zab"), A, "a", "s1", "s2"))),
    ("A1", lambda: written("raft").state("s2", role="leader", number=2)),
    ("A2", lambda: tree(tree(Story("zab"), "s1", "aa"), "s2", "aa")),
    ("A3", lambda: written("zab").store("s3", "log:" + A, "set /x 1").store("s2", "log:" + A, None)),
    ("A4", lambda: written("zab")),
    ("A5", lambda: written("zab").call("s1", 2, "get", "x").reply("s1", 2, "1", zxid=A)),
    ("L1", lambda: timed_out(Story("multi-paxos").add("s3", "crash", t=100))),
    ("A6", lambda: written("zab").call("s2", 2, "sync", "x").reply("s2", 2, "/x", zxid=A)),
    ("A6", lambda: appended(2, 3)),
    ("Z4", lambda: entry(Story("zab"), A, "a", "s1").write("s2", "base", A)),
    ("Z4", lambda: Story("zab").write("s2", "base", "0x200000000")),
    ("Z6", lambda: entry(entry(entry(Story("zab"), A, "a", "s1"), B, "b", "s1"), C, "c", "s1")),
    ("Z6", lambda: Story("zab").write("s1", "log:" + A, "a").write("s1", "log:" + A, "a")),  # there was no room before
    ("Z7", lambda: leading().send("s1", "s2", "SNAP", zxid=B)),
    ("Z12", lambda: committing(entry(Story("zab"), A, "a", "s1", "s2", "s3")).store("s3", "log:" + A, None)),
    ("Z14", lambda: restarted({"log:" + A: "a", "log:" + B: "b"})),
    ("Z14", lambda: restarted({"log:" + A: "a"})),  # B was not synced
    ("Z14", lambda: restarted({"base": A})),
    ("Z14", lambda: entry(Story("zab"), A, "a", "s1").add("s1", "fault", what="wipe").add("s1", "start", stored={})),
    ("L1", lambda: timed_out(Story("primary-backup").add("s3", "crash", t=100))),
]


def tree(story: Story, site: str, digest: str) -> Story:
    return story.state(site, role="follower", applied=A, digest=digest)


def committing(story: Story) -> Story:
    """s1 commits A."""
    story.send("s1", "s2", "COMMIT", zxid=A)
    story.trace.events[-1]["role"] = "commit-notice"
    return story


def appended(first: int, second: int) -> Story:
    """Two appends, one after the other, and the slots that they get."""
    story = Story("paxos_log").call("s1", 1, "append", "a").reply("s1", 1, first)
    return story.call("s2", 2, "append", "b").reply("s2", 2, second)


def leading() -> Story:
    """s1 begins an epoch with A and B in its log."""
    return entry(entry(Story("zab"), A, "a", "s1"), B, "b", "s1").send("s1", "s3", "NEWLEADER", zxid="0x200000000")


def restarted(stored: dict[str, Any]) -> Story:
    """s1 has synced A, and written B, before it starts again."""
    return entry(Story("zab"), A, "a", "s1").write("s1", "log:" + B, "b").add("s1", "start", stored=stored)


ENTRY = [[0, "s1"], 1, ["set", "x", 1]]


def pb_write() -> Story:
    story = Story("primary-backup").call("s1", 1, "set", "x", 1)
    return story.store("s1", "log:1", ENTRY).store("s2", "log:1", ENTRY)


def voted(*sites: str) -> Story:
    story = Story("2pc")
    for site in sites:
        story.send(site, "co1", "YES", txn=1)
    return story


def locked() -> Story:
    return Story("2pc").write("pa1", "txn:1", txn("prepared")).call("pa1", 2, "read", "x")


def doubt(end_us: int) -> Story:
    story = Story("2pc", decision="replicated").store("pa1", "txn:1", txn("prepared"))
    return story.add("", "note", t=end_us, text="the end")


BROKEN: list[tuple[str, Callable[[], Story]]] = [
    ("P1", lambda: chosen().store("a3", "accepted:1", [TWO, "b"]).store("a2", "accepted:1", [TWO, "b"]).breaks()),
    ("P2", lambda: Story("paxos").call("p1", 1, "propose", "a").write("a1", "accepted:1", [ONE, "z"]).breaks()),
    ("P2", lambda: log().write("s3", "accepted:2", [[1, "s1"], [7, ["set", "x", 1]]]).breaks()),
    ("P3", lambda: chosen().send("p2", "a1", "ACCEPT", slot=1, epoch=TWO, value="b").breaks()),
    ("P4", lambda: Story("paxos").send("a1", "p2", "PROMISE", slot=1, epoch=TWO).write("a1", "accepted:1", [ONE,
    "a"]).breaks()), ("P4", lambda: log().send("s1", "s2", "PROMISE", epoch=[2, "s2"])
        .write("s1", "accepted:2", [[1, "s1"], NOOP]).breaks()),
    ("P5", lambda: Story("paxos").write("a1", "promised:1", ONE).send("a1", "p1", "PROMISE", slot=1,
    epoch=ONE).breaks()), ("P6", lambda: Story("paxos").send("p1", "a1", "PREPARE", epoch=ONE).send("p2", "a1",
    "PREPARE", epoch=ONE).breaks()), ("P6", lambda: Story("paxos").send("p1", "a1", "PREPARE", epoch=ONE)
        .add("p1", "start", stored={})
        .send("p1", "a1", "PREPARE", epoch=ONE).breaks()),
    ("P7", lambda: log().add("s1", "state", executed=[["set", "x", 1], ["set", "x", 2]]).breaks()),
    ("P8", lambda: Story("paxos").store("a1", "accepted:1", [ONE, "a"]).reply("p1", 1, "a").breaks()),
    ("P8", lambda: log().send("s1", "s2", "CHOSEN", slot=1, value=NOOP).breaks()),
    ("A2", lambda: log().add("s1", "state", executed=[["a"], ["b"]]).add("s2", "state", executed=[["b"]]).breaks()),
    ("A4", lambda: log().call("s1", 2, "set", "x", 2).reply("s1", 2, 2).breaks()),
    ("V1", lambda: Story("paxos1").store("a1", "value", "a").store("a1", "value", "b").breaks()),
    ("V1", lambda: Story("paxos2").store("a1", "accepted:1", [ONE, "a"]).reply("p1", 1, "a").reply("p2", 2,
    "b").breaks()), ("V2", lambda: Story("paxos1").write("a1", "lock", ["p1", 1])
        .write("a1", "lock", ["p2", 2]).breaks()),
    ("V2", lambda: Story("paxos2").send("a1", "p2", "PROMISE", epoch=TWO).write("a1", "accepted:1", [ONE,
    "a"]).breaks()), ("V2", lambda: Story("paxos2").send("a1", "p1", "PROMISE", epoch=[5, ""])
        .send("a1", "p2", "PROMISE", epoch=[5, ""]).breaks()),
    ("B1", lambda: pb_write().reply("s1", 1, 1).breaks()),
    ("B2", lambda: pb_write().store("s3", "log:2", ENTRY).breaks()),
    ("B2", lambda: pb_write().store("s3", "log:1", [[0, "s1"], 2, ["set", "x", 2]]).breaks()),
    ("B3", lambda: Story("primary-backup").send("s1", "s3", "COPY", fence=[0, "s1"]).send("s2", "s3", "COPY", fence=[0,
    "s1"]).breaks()), ("T1", lambda: Story("2pc").store("pa1", "txn:1", txn("committed"))
        .store("pa2", "txn:1", txn("aborted")).breaks()),
    ("T2", lambda: voted("pa1", "pa3").store("pa1", "txn:1", txn("committed")).breaks()),
    ("T3", lambda: Story("2pc").store("pa1", "txn:1", txn("aborted")).store("pa1", "txn:1", txn("committed")).breaks()),
    ("T3", lambda: Story("2pc").store("co1", "decision:1", "commit").store("co1", "decision:1", "abort").breaks()),
    ("T4", lambda: locked().reply("pa1", 2, 1).breaks()),
    ("T4", lambda: Story("2pc").write("pa1", "txn:1", txn("aborted")).add("pa1", "state", locks=[["x", 1]]).breaks()),
    ("T5", lambda: doubt(3_000_000).breaks()),
]  # fmt: skip
BROKEN += [
    ("RF1", lambda: append(append(Story("raft"), "s1", "s2", 1), "s2", "s1", 1).breaks()),
    ("RF2", lambda: voted_for(1).store("s2", "raftVote", "1 3").breaks()),
    ("RF2", lambda: voted_for(1, 2).store("s2", "acceptedEpoch", 1).breaks()),
    ("RF2", lambda: voted_for(1).send("s2", "s3", "GRANT", term=1).breaks()),
    ("RF2", lambda: voted_for(1).send("s2", "s1", "GRANT", term=2).breaks()),
    ("RF3", lambda: append(entry(Story("raft"), A, "a", "s1"), "s1", "s2", 1).write("s1", "log:" + A, None).breaks()),
    ("RF4", lambda: entry(entry(Story("raft"), A, "a", "s1"), A, "b", "s2").breaks()),
    ("RF4", lambda: entry(entry(entry(Story("raft"), A, "a", "s1"), C, "c", "s1"), C, "c", "s2").breaks()),
    ("RF5", lambda: append(append(entry(Story("raft"), A, "a", "s1"), "s1", "s2", 1, A), "s2", "s1", 2).breaks()),
    ("RF6", lambda: Story("raft").state("s1", applied=A).breaks()),
    ("RF7", lambda: append(Story("raft"), "s1", "s2", 2, A).breaks()),
    ("RF8", lambda: shown(Story("raft"), B, A, B).breaks()),
    ("RF9", lambda: shown(shown(Story("raft"), A, B, B), A, A, B).breaks()),
    ("RF10", lambda: append(entry(Story("raft"), A, "a", "s1"), "s1", "s2", 1, A).breaks()),
    ("RF10", lambda: Story("raft").write("s2", "log:" + A, "a").send("s2", "s1", "APPENDED", zxid=A).breaks()),
    ("Z1", lambda: Story("zab").store("s1", "currentEpoch", 1).store("s2", "currentEpoch", 1)
        .send("s1", "s2", "PROPOSAL", zxid=A).send("s2", "s1", "PROPOSAL", zxid=A).breaks()),
    ("Z2", lambda: entry(entry(Story("zab"), A, "a", "s1"), A, "b", "s2").breaks()),
    ("Z5", lambda: Story("zab").state("s1", applied=A).breaks()),
    ("Z8", lambda: committing(entry(Story("zab"), A, "a", "s1"))
        .send("s2", "s1", "NEWLEADER", zxid="0x200000000").breaks()),
    ("Z9", lambda: Story("zab").write("s2", "log:" + A, "a").send("s2", "s1", "ACK", zxid=A).breaks()),
    ("Z9", lambda: Story("zab").send("s2", "s1", "NOTIFICATION", state="LOOKING", leader="s2", zxid=A).breaks()),
    ("Z10", lambda: Story("zab").store("s1", "acceptedEpoch", 2).store("s1", "acceptedEpoch", 1).breaks()),
    ("Z10", lambda: Story("zab").store("s1", "acceptedEpoch", 1).store("s1", "currentEpoch", 2).breaks()),
    ("Z11", lambda: committing(entry(Story("zab"), A, "a", "s1")).breaks()),
    ("A1", lambda: written("raft").state("s3", role="leader", number=2).breaks()),
    ("A2", lambda: tree(tree(Story("zab"), "s1", "aa"), "s2", "bb").breaks()),
    ("A3", lambda: written("zab").store("s2", "log:" + A, None).breaks()),
    ("A4", lambda: entry(Story("zab").call("s1", 1, "set", "x", "1"), A, "set /x 1", "s1")
        .reply("s1", 1, 1, zxid=A).breaks()),
    ("A5", lambda: written("zab").call("s1", 2, "get", "x").reply("s1", 2, "7", zxid=A).breaks()),
    ("A5", lambda: written("zab").call("s2", 2, "get", "x").reply("s2", 2, "0", zxid="0x0").breaks()),
    ("L1", lambda: timed_out(Story("multi-paxos")).breaks()),
    ("A6", lambda: written("zab").call("s2", 2, "sync", "x").reply("s2", 2, "/x", zxid="0x0").breaks()),
    ("A6", lambda: Story("multi-paxos").call("s1", 1, "set", "x", 1).reply("s1", 1, 1)
        .call("s2", 2, "get", "x").reply("s2", 2, None).breaks()),
    ("A6", lambda: appended(3, 2).breaks()),
    ("A6", lambda: appended(3, 3).breaks()),
    ("Z4", lambda: entry(Story("zab"), A, "a", "s1").write("s2", "base", B).breaks()),
    ("Z6", lambda: Story("zab").write("s1", "log:" + B, "b").breaks()),
    ("Z6", lambda: entry(Story("zab"), C, "c", "s1").write("s1", "log:" + A, "a").breaks()),
    ("Z7", lambda: leading().send("s1", "s2", "SNAP", zxid=A).breaks()),
    ("Z12", lambda: committing(entry(Story("zab"), A, "a", "s1", "s2")).store("s2", "log:" + A, None).breaks()),
    ("Z14", lambda: restarted({}).breaks()),
    ("Z14", lambda: restarted({"log:" + A: "z"}).breaks()),
    ("Z14", lambda: restarted({"log:" + A: "a", "log:" + C: "c"}).breaks()),
    ("L1", lambda: timed_out(Story("primary-backup")).breaks()),
]  # fmt: skip


def test_each_check_has_both():
    assert {name for name, _ in GOOD} == {name for name, _ in BROKEN} == CHECKS.keys()


@pytest.mark.parametrize(("name", "make"), GOOD, ids=[name for name, _ in GOOD])
def test_it_holds(name, make):
    assert CHECKS[name].find(make().trace) is None


@pytest.mark.parametrize(("name", "make"), BROKEN, ids=[name for name, _ in BROKEN])
def test_it_names_the_event_that_broke_it_and_says_why_in_two_languages(name, make):
    story = make()
    broken = CHECKS[name].find(story.trace)
    assert broken is not None
    assert broken.event == story.bad
    assert all(0 <= each < broken.event for each in broken.evidence)
    assert broken.why
    assert any("\u4e00" <= character <= "\u9fff" for character in broken.why_zh)


def test_votes_are_for_the_numbers_that_servers_have_in_their_names():
    trace = voted_for(7).send("s2", "s7", "GRANT", term=1).trace
    named = Trace({**trace.header, "sites": {"s2": "server", "s7": "server"}}, trace.events[1:2] + trace.events[3:])
    assert CHECKS["RF2"].find(named) is None
    other = voted_for(2).send("s2", "s7", "GRANT", term=1).trace
    assert CHECKS["RF2"].find(Trace(named.header, other.events)) is not None
