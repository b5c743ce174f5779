"""Many servers elect over a network that delays, loses, cuts and reorders: safety at each step, progress once it heals.

Each server here keeps no more than (epoch, zxid). What follows an election is shortened to its outcome: a leader whom
a quorum follows 300 ms later is established, others give up.
"""

from heapq import heappop, heappush
from random import Random

import pytest

from recipes.core.jute.votes import FOLLOWING, LEADING, LOOKING, MIN_ZXID, OBSERVING, Notification
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.zab.election import IDLE, Election

SETTLE_MS = 300


class Node:
    def __init__(self, sid: int, membership: Membership) -> None:
        self.sid, self.membership = sid, membership
        self.observer = sid in membership.observers
        self.election = Election(sid, membership, self.observer)
        self.zxid = self.epoch = self.accepted = 0
        self.unsure = False  # its database is lost until a leader has synced it
        self.up = True
        self.decided_at: int | None = None
        self.established = 0  # the epoch it serves in; 0 when it does not

    @property
    def leader(self) -> int | None:
        vote = self.election.vote
        return None if vote is None else vote.leader


class World:
    """seed: of everything that happens. faults: links fail and servers crash until `heal`."""

    def __init__(self, membership: Membership, seed: int, faults: bool) -> None:
        self.chance = Random(seed)
        self.membership, self.faults = membership, faults
        self.now_ms, self.serial = 0, 0
        self.nodes = {sid: Node(sid, membership) for sid in membership.servers}
        self.events: list[tuple[int, int, str, int, int]] = []
        self.slots: dict[tuple[int, int], Notification] = {}  # what is to be sent: one per link, the newest wins
        self.last: dict[tuple[int, int], Notification] = {}  # sent again on a new connection
        self.cut: set[tuple[int, int]] = set()
        self.said: dict[tuple[int, int], set[int]] = {}  # (leader, round) -> voters that voted so
        self.led: dict[int, set[int]] = {}  # round -> those who took themselves for its leader
        self.epochs: dict[int, int] = {}  # epoch -> who led it
        self.trace: list[str] = []
        for sid, node in self.nodes.items():
            node.zxid, node.epoch = self.chance.randint(0, 3), self.chance.randint(0, 2)
            node.accepted = node.epoch
            self.at(self.chance.randint(0, 50), "look", sid)
            self.at(100, "check", sid)
        if faults:
            self.at(0, "fault")

    def at(self, delay_ms: int, kind: str, sid: int = 0, other: int = 0) -> None:
        self.serial += 1
        heappush(self.events, (self.now_ms + delay_ms, self.serial, kind, sid, other))

    def run(self, until_ms: int) -> None:
        while self.events and self.events[0][0] <= until_ms:
            self.now_ms, _, kind, sid, other = heappop(self.events)
            getattr(self, f"on_{kind}")(*[number for number in (sid, other) if number])
        self.now_ms = until_ms

    def on_look(self, sid: int) -> None:
        node = self.nodes[sid]
        if node.up and node.election.state == IDLE:
            node.election.look(-1 if node.unsure else node.zxid, node.epoch, self.now_ms)
            self.after(node)

    def on_tick(self, sid: int) -> None:
        node = self.nodes[sid]
        if node.up:
            node.election.tick(self.now_ms)
            self.after(node)

    def on_send(self, sender: int, to: int) -> None:
        if not self.nodes[sender].up:
            return
        note = self.slots.pop((sender, to), None)
        if note is None or self.broken(sender, to):
            return
        if self.faults and self.chance.random() < 0.1:
            return
        node = self.nodes[to]
        node.election.receive(sender, note, self.now_ms)
        self.after(node)

    def after(self, node: Node) -> None:
        """What came out of an input: check it, send it, and be woken."""
        election = node.election
        for to, note in election.take_votes():
            assert to != node.sid
            if note.state == LOOKING and not node.observer and note.zxid != -1:
                own = (node.epoch, node.zxid, node.sid)
                if self.membership.weight(node.sid):
                    assert (note.peer_epoch, note.zxid, note.leader) >= own, "a vote for less than it has itself"
                assert self.membership.weight(note.leader) or note.leader == node.sid
                self.said.setdefault((note.leader, note.round), set()).add(node.sid)
            if node.observer and note.state == LOOKING:
                assert note.leader == MIN_ZXID
            link = (node.sid, to)
            if link not in self.slots:
                self.at(
                    self.chance.randint(1, 400 if self.faults and self.chance.random() < 0.05 else 5), "send", *link
                )
            self.slots[link] = self.last[link] = note
        if election.state in (LEADING, FOLLOWING, OBSERVING) and node.decided_at is None:
            self.decided(node)
        if election.deadline_ms is not None:
            self.at(max(0, election.deadline_ms - self.now_ms), "tick", node.sid)

    def decided(self, node: Node) -> None:
        vote = node.election.vote
        assert vote is not None
        node.decided_at = self.now_ms
        self.trace.append(f"{self.now_ms} {node.sid} {node.election.state} {vote}")
        supporters = self.said.get((vote.leader, vote.round), set())
        if len(self.membership.voters) > 1:
            assert self.membership.is_quorum(supporters), f"{node.sid} decided without a quorum: {supporters}"
        assert (node.election.state == LEADING) == (vote.leader == node.sid)
        if node.election.state == LEADING:
            assert not node.unsure
            assert not node.observer
            assert self.membership.weight(node.sid)
            self.led.setdefault(vote.round, set()).add(node.sid)

    def followers(self, leader: Node) -> list[Node]:
        return [
            node
            for node in self.nodes.values()
            if node.up and node.leader == leader.sid and not self.broken(node.sid, leader.sid)
        ]

    def on_check(self, sid: int) -> None:
        """What the later phases find out: whether the one elected leads, and is followed."""
        self.at(100, "check", sid)
        node = self.nodes[sid]
        if not node.up or node.decided_at is None:
            return
        old = self.now_ms - node.decided_at >= SETTLE_MS
        if node.election.state != LEADING:
            assert node.leader is not None
            leader = self.nodes[node.leader]
            if leader.up and leader.election.state == LEADING and not self.broken(sid, leader.sid):
                if leader.established and node.established != leader.established:
                    self.join(node, leader)
            elif old or node.established:
                self.leave(node)
            return
        following = self.followers(node)
        if self.membership.is_quorum([other.sid for other in following]):
            if not node.established:
                self.establish(node, following)
        elif old:
            self.leave(node)

    def establish(self, leader: Node, following: list[Node]) -> None:
        # Discovery does not count who is ahead of the leader; once there is a quorum without it, it is let in.
        behind = [node for node in following if node.unsure or (node.epoch, node.zxid) <= (leader.epoch, leader.zxid)]
        if not self.membership.is_quorum([node.sid for node in behind]):
            self.leave(leader)
            return
        epoch = 1 + max(node.accepted for node in following)
        assert epoch not in self.epochs, "two leaders of one epoch"
        self.epochs[epoch] = leader.sid
        self.trace.append(f"{self.now_ms} {leader.sid} establishes {epoch}")
        leader.zxid += self.chance.randint(0, 5)
        leader.epoch = leader.accepted = leader.established = epoch
        leader.election.established(epoch)
        for node in following:
            if node is not leader:
                self.join(node, leader)

    def join(self, node: Node, leader: Node) -> None:
        node.epoch = node.accepted = node.established = leader.established
        node.zxid, node.unsure = leader.zxid, False
        node.election.established(leader.established)

    def leave(self, node: Node) -> None:
        node.election.leave()
        node.decided_at, node.established = None, 0
        self.at(self.chance.randint(0, 10), "look", node.sid)  # the disk drains

    def broken(self, one: int, other: int) -> bool:
        return (min(one, other), max(one, other)) in self.cut or not (self.nodes[one].up and self.nodes[other].up)

    def on_fault(self) -> None:
        if not self.faults:
            return
        self.at(self.chance.randint(50, 800), "fault")
        kind, sid = self.chance.randint(0, 3), self.chance.choice(list(self.nodes))
        if kind == 0:
            pair = tuple(sorted(self.chance.sample(list(self.nodes), 2)))
            self.connect(pair[0], pair[1], pair in self.cut)
        elif kind == 1 and self.nodes[sid].up:
            self.crash(sid)
        else:
            self.restart(sid)

    def crash(self, sid: int) -> None:
        self.trace.append(f"{self.now_ms} {sid} crashes")
        self.nodes[sid].up = False
        for other in self.nodes:
            if other != sid:
                self.tell(sid, other)

    def restart(self, sid: int) -> None:
        node = self.nodes[sid]
        if node.up:
            return
        node.up, node.decided_at, node.established = True, None, 0
        sure = [other.sid for other in self.nodes.values() if not other.unsure and other is not node]
        if self.faults and self.chance.random() < 0.3 and self.membership.is_quorum(sure):
            node.unsure = True
        node.election = Election(sid, self.membership, node.observer)
        for other in self.nodes:
            if other != sid:
                self.slots.pop((sid, other), None)
                self.last.pop((sid, other), None)
                self.tell(sid, other)
        self.at(self.chance.randint(0, 50), "look", sid)

    def connect(self, one: int, other: int, up: bool) -> None:
        (self.cut.discard if up else self.cut.add)((one, other))
        self.tell(one, other)

    def tell(self, one: int, other: int) -> None:
        """Both ends hear whether they are connected, and a new connection begins with what was said last."""
        down = self.broken(one, other)
        for sid, peer in ((one, other), (other, one)):
            node = self.nodes[sid]
            if node.up:
                node.election.unreachable(peer, down)
                if not down and (sid, peer) in self.last:
                    self.slots[sid, peer] = self.last[sid, peer]
                    self.at(self.chance.randint(1, 5), "send", sid, peer)
                self.after(node)

    def heal(self) -> None:
        self.trace.append(f"{self.now_ms} healed")
        self.faults = False
        for one, other in sorted(self.cut):
            self.connect(one, other, True)
        for sid in self.nodes:
            self.restart(sid)

    def leaders(self) -> set[int]:
        return {node.sid for node in self.nodes.values() if node.up and node.election.state == LEADING}

    def settled(self) -> bool:
        """Everybody follows one leader, in its epoch."""
        nodes = self.nodes.values()
        return len({(node.leader, node.established) for node in nodes}) == 1 and all(node.established for node in nodes)


def ensemble(voters: int, observers: int = 1, **groups) -> Membership:
    sids = range(1, voters + observers + 1)
    return Membership([QuorumServer(sid, "h", 1, 2, observer=sid > voters) for sid in sids], **groups)


ENSEMBLES = {
    "three": ensemble(3),
    "five": ensemble(5),
    "weighted": ensemble(7, groups={1: (1, 2, 3), 2: (4, 5, 6), 3: (7,)}, weights={1: 2, 2: 2, 6: 0}),
    "alone": ensemble(1),
}


@pytest.mark.parametrize("name", ENSEMBLES)
@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_votes_are_sound_and_once_it_heals_one_leads(name, seed):
    world = World(ENSEMBLES[name], seed, faults=True)
    world.run(until_ms=20_000)
    world.heal()
    # One long repetition of votes, one failed attempt, and the election that then succeeds.
    world.run(until_ms=world.now_ms + 10_000)
    assert world.settled(), world.trace[-10:]


@pytest.mark.parametrize("name", ENSEMBLES)
@pytest.mark.parametrize("seed", range(12))
def test_where_nothing_fails_the_longest_history_leads_after_one_round(name, seed):
    world = World(ENSEMBLES[name], seed, faults=False)
    voters = [node for node in world.nodes.values() if world.membership.weight(node.sid)]
    best = max((node.epoch, node.zxid, node.sid) for node in voters)
    world.run(until_ms=1_000)
    assert world.settled()
    assert world.leaders() == {best[2]}
    assert world.led == {1: {best[2]}}


@pytest.mark.parametrize("name", ["three", "five", "weighted"])
@pytest.mark.parametrize("seed", range(12))
def test_survivors_decide_without_waiting_when_the_leader_is_gone(name, seed):
    world = World(ENSEMBLES[name], seed, faults=False)
    world.run(until_ms=1_000)
    (old,) = world.leaders()
    world.crash(old)
    for sid, node in world.nodes.items():
        if sid != old:
            world.leave(node)
    # Up to 10 ms to drain, 5 per message there and back, 20 for the one that cannot be reached.
    world.run(until_ms=1_060)
    (new,) = world.leaders()
    assert new != old
    assert {node.leader for node in world.nodes.values() if node.up} == {new}
    world.restart(old)
    world.run(until_ms=2_000)
    assert world.settled()
    assert world.leaders() == {new}


# 1 and any other are a quorum, the four others without it are none.
HEAVY = ensemble(5, groups={1: (1, 2, 3, 4, 5)}, weights={1: 4})


@pytest.mark.parametrize("seed", range(6))
def test_the_four_of_five_that_one_outweighs_elect_nobody(seed):
    world = World(HEAVY, seed, faults=False)
    world.crash(1)
    world.run(until_ms=10_000)
    assert world.led == {} and world.epochs == {}
    world.restart(1)
    world.run(until_ms=world.now_ms + 10_000)
    assert world.settled(), world.trace[-10:]


@pytest.mark.parametrize("seed", range(6))
def test_two_of_five_that_outweigh_the_others_elect_one_of_them(seed):
    world = World(HEAVY, seed, faults=False)
    for sid in (3, 4, 5):
        world.crash(sid)
    world.run(until_ms=2_000)
    assert len(world.leaders()) == 1 and world.leaders() <= {1, 2}
    assert world.nodes[1].established == world.nodes[2].established != 0


def test_the_same_seed_tells_the_same_story():
    def story(seed: int) -> list[str]:
        world = World(ENSEMBLES["five"], seed, faults=True)
        world.run(until_ms=20_000)
        return world.trace

    assert len(story(1)) > 20
    assert story(1) == story(1)
    assert story(1) != story(2)
