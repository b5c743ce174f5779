"""Ensembles that run primary-backup, in the simulation that the other protocols run in.

All faults but damage to disks, of which primary-backup promises nothing: a plan's rot and wipe do not strike here.
How to replay a seed, and how to hunt: see ensembles.py.
"""

import pytest

from recipes.core.errors import InvariantBroken
from recipes.core.primary_backup.peer import PrimaryBackupPeer
from recipes.core.primary_backup.protocol import PRIMARY_BACKUP, degrading
from recipes.core.primary_backup.wire import NAMES
from recipes.core.sim import hunt as hunt_module
from recipes.core.sim.ensemble import Ensemble
from recipes.core.sim.plan import FAULTS
from recipes.core.sim.protocols import find_simulated
from tests.simulation.conftest import plan_of, run_seed, sources_of
from tests.simulation.ensembles import PROPERTY, hunt, hunt_bugs, hunt_in, replay, run_all
from tests.simulation.planted import primary_backup
from tests.simulation.planted.bug import PLANTED_IN_PRIMARY_BACKUP

PROTOCOL = "primary-backup"
NEVER = ("rot", "wipe")
# Only servers of different lists send the first; only a promotion makes logs part; only one far behind gets a tree.
RARE = ("REFUSED", "CONFLICT", "SNAPSHOT", "PART", "END")
EXPECTED = (
    *(fault for fault in FAULTS if fault not in NEVER), *(name for name in NAMES.values() if name not in RARE),
    "LEADS", "role leader", "role follower", "role looking", "Cell", "snapshot", "no space", "end by disk",
    "session moved", "session expired", "event",
)  # fmt: skip


def test_some_seeds():
    counts = run_all(range(1, 3), 3, 0, PROTOCOL)
    assert counts["role leader"] and counts["COPY"]


@pytest.mark.thorough  # ten seconds of processor time
def test_more_seeds():
    counts = run_all(range(3, 20), 3, 0, PROTOCOL)
    assert not any(counts.get(what) for what in NEVER)  # an observer's disk may be damaged
    for what, count in run_all(range(1, 4), 5, 1, PROTOCOL).items():
        counts[what] = counts.get(what, 0) + count
    assert all(counts.get(what) for what in ("kill", "partition", "role observer"))


@pytest.mark.replay
def test_one_seed(pytestconfig):
    replay(pytestconfig, PROTOCOL)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_hunt(pytestconfig, capsys):
    hunt(pytestconfig, capsys, PROTOCOL, EXPECTED)


# One server down, and an operator.


class Story:
    """Three servers without faults: the test says what happens."""

    def __init__(self, seed=1, protocol=PRIMARY_BACKUP):
        plan = plan_of(seed, 3, 0)._replace(faults=[], rates_pm=(1000,) * 3, cut_probability=0.0, delay_us=1000)
        self.ensemble = Ensemble(
            plan._replace(end_us=20_000_000), sources_of(seed), find_simulated(PROTOCOL)._replace(protocol=protocol)
        )
        self.nodes = self.ensemble.nodes

    def run(self, ms):
        timeline = self.ensemble.timeline
        timeline.run_until(timeline.now_us + ms * 1000)

    def until(self, holds):
        for _ in range(600):
            if holds():
                return
            self.run(50)
        raise AssertionError("it did not come about in 30 s")

    def serve(self):
        self.until(lambda: all(node.up and node.member.serving for node in self.nodes.values()))
        self.until(lambda: self.nodes[1].peer.committed_zxid > 0)

    def promote(self, sid, fenced):
        node = self.nodes[sid]
        node.take(node.peer.promote, fenced)


def test_a_backup_that_is_down_blocks_writes_and_reads_go_on():
    story = Story()
    story.serve()
    story.ensemble.kill(story.nodes[3], 4_000_000)
    story.run(100)
    before = story.nodes[1].peer.committed_zxid
    reads = story.ensemble.counts.get("get", 0)
    story.run(3000)
    assert story.nodes[1].peer.committed_zxid == before
    assert story.nodes[1].peer.history.last_zxid > before  # it has logged them, and waits
    assert story.nodes[1].member.serving and story.nodes[2].member.serving
    assert story.ensemble.counts["get"] > reads
    story.until(lambda: story.nodes[1].peer.committed_zxid > before)
    assert story.nodes[1].peer.epoch >> 8 == 1  # the same primary, which has not begun again


def test_a_promotion_with_a_fence_leaves_one_primary():
    story = Story()
    story.serve()
    story.ensemble.kill(story.nodes[1], 6_000_000)
    story.run(1000)
    shown = story.ensemble.ledger.tip
    story.promote(2, True)
    story.until(lambda: story.nodes[2].peer.serving and story.nodes[2].peer.leader is not None)
    assert story.ensemble.ledger.contains(story.nodes[2].peer.committed_zxid, shown)
    story.until(lambda: story.nodes[1].up and story.nodes[1].member.serving)
    assert story.nodes[1].peer.leader is None and story.nodes[1].peer.follower.leader_sid == 2
    assert story.nodes[1].peer.epoch == story.nodes[2].peer.epoch > 1 << 23
    story.ensemble.kill(story.nodes[2], 500_000)
    story.until(lambda: story.nodes[2].up and story.nodes[2].member.serving)
    assert story.nodes[2].peer.leader is not None and story.nodes[2].peer.backups == (3,)


def test_a_promotion_without_a_fence_makes_two_primaries():
    story = Story()
    story.serve()
    story.promote(2, False)
    with pytest.raises(InvariantBroken, match="B3 servers 1 and 2 both lead"):
        story.run(20_000)


def test_a_primary_that_degrades_goes_on_without_a_silent_backup():
    story = Story(protocol=degrading(1000))
    story.serve()
    story.ensemble.kill(story.nodes[3], 8_000_000)
    story.run(100)
    before = story.nodes[1].peer.committed_zxid
    story.until(lambda: story.nodes[1].peer.committed_zxid > before)
    assert not story.nodes[3].up
    assert story.nodes[1].peer.backups == (2,)
    story.until(lambda: story.nodes[3].up and story.nodes[3].member.serving)
    story.until(lambda: story.nodes[3].peer.flushed_zxid >= before)  # it follows again
    story.ensemble.kill(story.nodes[1], 100_000)
    story.until(lambda: story.nodes[1].up and story.nodes[1].peer.serving)
    assert story.nodes[1].peer.backups == (2,)  # which was on its disk


def test_what_a_degraded_primary_has_acknowledged_may_be_lost():
    story = Story(protocol=degrading(1000))
    story.serve()
    for sid in (2, 3):
        story.ensemble.kill(story.nodes[sid], 6_000_000)
    before = story.ensemble.ledger.tip
    story.until(lambda: story.nodes[1].peer.backups == () and story.ensemble.ledger.tip > before)
    assert not story.nodes[2].up
    story.ensemble.kill(story.nodes[1], 30_000_000)
    story.until(lambda: story.nodes[2].up and story.nodes[3].up)
    story.promote(2, True)
    with pytest.raises(InvariantBroken, match="A1 server"):
        story.run(20_000)


@pytest.mark.thorough  # four runs
def test_a_primary_that_degrades_keeps_what_it_has_acknowledged_while_nobody_is_promoted(monkeypatch):
    simulated, dropped = find_simulated(PROTOCOL)._replace(protocol=degrading(500)), []
    monkeypatch.setattr(hunt_module, "find_simulated", lambda name: simulated)
    monkeypatch.setattr(
        PrimaryBackupPeer, "note", lambda self, text: dropped.append(text) if "dropped" in text else None
    )
    for seed in range(1, 5):
        verdict = run_seed(seed, 3, 0, tuple(fault for fault in FAULTS if fault not in NEVER), PROTOCOL)
        assert verdict.broken == "", verdict.problem
    assert dropped


# Bugs, each found by the property that it breaks.


def run_bug(bug, seed):
    return run_seed(seed, bug.servers, bug.observers, bug.kinds, PROTOCOL)


@pytest.mark.parametrize("bug", PLANTED_IN_PRIMARY_BACKUP, ids=lambda bug: bug.name)
def test_planted_bug_is_found_by_the_property_it_breaks(bug, monkeypatch):
    bug.plant(monkeypatch)
    verdict = run_bug(bug, bug.seed)
    assert verdict.broken == bug.breaks, verdict.problem
    assert PROPERTY.fullmatch(bug.breaks)


def test_there_are_enough_of_them():
    assert len(PLANTED_IN_PRIMARY_BACKUP) >= 4
    assert primary_backup.replies_at_the_first_copy.__name__ == PLANTED_IN_PRIMARY_BACKUP[0].name


def hunt_bug(task):
    return hunt_in(PLANTED_IN_PRIMARY_BACKUP, task, run_bug)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_how_many_seeds_each_bug_takes(pytestconfig, capsys):
    hunt_bugs(pytestconfig, capsys, PROTOCOL, PLANTED_IN_PRIMARY_BACKUP, hunt_bug)
