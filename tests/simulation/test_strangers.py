"""Strangers at the ports between servers, in simulated runs with faults: nothing breaks.

They claim to be members, with epochs or terms of all kinds, and say nothing that a member says when it joins: what they
would promise or acknowledge in a member's name counts as that member's. They have a random source of their own.
"""

from random import Random

import pytest

from recipes.core.errors import InvariantBroken
from recipes.core.jute import quorum as q
from recipes.core.jute.votes import encode_notification
from recipes.core.protocols import DEFAULT
from recipes.core.raft.claims import MOST_CLAIMED
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, Kind, to_notification
from recipes.core.sim.ensemble import Ensemble
from recipes.core.sim.network import Side
from recipes.core.sim.protocols import find_simulated
from tests.simulation.conftest import plan_of, sources_of

SITE = 5000  # where the first one is
EARLY = (q.PING, q.ACK, q.REQUEST, q.REVALIDATE, q.COMMIT, q.SNAP, q.FAREWELL, 99)


class Strangers:
    """Comes until the faults end. count: how many have said something."""

    def __init__(self, ensemble: Ensemble, chance: Random) -> None:
        self.ensemble = ensemble
        self.chance = chance
        self.count = 0
        self.later()

    def later(self) -> None:
        self.ensemble.timeline.after(1 + self.chance.randrange(100_000), self.come)

    def come(self) -> None:
        if self.ensemble.timeline.now_us >= self.ensemble.plan.end_us:
            return
        open_at = [node for node in self.ensemble.nodes.values() if node.up and node.peer.listening]
        if open_at:
            leader = self.chance.choice(open_at)
            self.count += 1
            site = SITE + self.count
            self.ensemble.network.dial(site, leader.sid, "quorum", self.speak, lambda: None)
        self.later()

    def speak(self, side: Side) -> None:
        chance, nodes = self.chance, self.ensemble.nodes
        epoch = max(node.peer.accepted_epoch for node in nodes.values())
        promised = chance.choice(
            (0, epoch - 1, epoch, epoch + 1, epoch + 2, epoch + 70_000, 1 << 24, 1 << 30, (1 << 31) - 1)
        )
        info = q.encode_learner_info(chance.choice((*nodes, 99)))
        kind = chance.choice((q.FOLLOWERINFO, q.FOLLOWERINFO, q.OBSERVERINFO))
        first = q.encode_packet(kind, max(promised, 0) << 32, info)
        side.send(chance.choice((b"", first[:9], first, first, first)))
        if not chance.randrange(3):
            side.send(q.encode_packet(chance.choice(EARLY), chance.randrange(1 << 62), chance.randbytes(20)))
        if not chance.randrange(3):
            side.close()


class RaftStrangers(Strangers):
    """At the election ports they speak for servers that are down."""

    def terms(self) -> tuple[int, ...]:
        term = max(node.peer.term for node in self.ensemble.nodes.values() if node.up)
        return (0, max(term - 1, 0), term, term + 1, term + 2, term + 70_000, 1 << 24, MOST_CLAIMED, (1 << 31) - 1)

    def come(self) -> None:
        super().come()
        nodes, chance = self.ensemble.nodes, self.chance
        up = [node for node in nodes.values() if node.up]
        down = [sid for sid, node in nodes.items() if not node.up]
        if up and down and self.ensemble.timeline.now_us < self.ensemble.plan.end_us:
            ballot = Ballot(chance.choice((Kind.REFUSE, Kind.LEADS, Kind.ASK)), chance.choice(self.terms()), 1 << 62)
            node = chance.choice(up)
            self.count += 1
            for _ in range(chance.choice((1, 1, 3))):
                node.take(
                    node.notified,
                    chance.choice(down),
                    encode_notification(to_notification(ballot, node.peer.ensemble, b"")),
                )

    def speak(self, side: Side) -> None:
        chance = self.chance
        up = [node for node in self.ensemble.nodes.values() if node.up]
        if not up:
            return
        ensemble = up[0].peer.ensemble
        hello = RAFT_MESSAGES.encode_hello(
            ensemble,
            chance.choice((*self.ensemble.nodes, 99)),
            chance.choice(self.terms()),
            chance.choice((0, 1 << 62)),
        )
        side.send(chance.choice((b"", hello[:9], hello, hello, hello)))
        if not chance.randrange(3):
            side.send(chance.choice((w.encode_forward(1, 1, 1, b"", ()), w.encode_synced(), chance.randbytes(20))))
        if not chance.randrange(3):
            side.close()


def run(seed: int, servers: int, observers: int, protocol: str = DEFAULT) -> None:
    ensemble = Ensemble(plan_of(seed, servers, observers), sources_of(seed), find_simulated(protocol))
    strangers = (Strangers if protocol == DEFAULT else RaftStrangers)(ensemble, Random(f"{seed}/strangers"))
    try:
        ensemble.run()
    except InvariantBroken as error:
        raise AssertionError(f"seed {seed}: {error}: {list(ensemble.notes)[-5:]}") from error
    assert strangers.count > 20
    stored = [node.peer.accepted_epoch if protocol == DEFAULT else node.peer.term for node in ensemble.nodes.values()]
    assert all(epoch < 1 << 20 for epoch in stored)


@pytest.mark.thorough  # beside what test_ensemble.py shows
@pytest.mark.parametrize("protocol", [DEFAULT, "raft"])
@pytest.mark.parametrize("seed", range(1, 9))
def test_f1_f6_strangers_break_no_property(seed, protocol):
    run(seed, *((3, 0), (5, 1))[seed % 2], protocol)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("protocol", [DEFAULT, "raft"])
def test_f1_f6_strangers_in_many_runs(pytestconfig, protocol):
    first, _, last = pytestconfig.getoption("--seeds").partition("-")
    for seed in range(int(first), int(last) + 1):
        run(seed, *((3, 0), (5, 1))[seed % 2], protocol)
