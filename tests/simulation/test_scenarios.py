"""Histories of which the outcome is known, each told step by step: who does what, and what must be true in the end."""

from random import Random

import pytest

from recipes.core.errors import InvariantBroken
from recipes.core.jute import opcodes as op
from recipes.core.sim.clients import Operation
from recipes.core.sim.ensemble import Ensemble
from recipes.core.sim.plan import Plan
from recipes.core.zab import leader as leader_module
from tests.simulation.planted.clients import sync_answered_without_asking_a_quorum
from tests.simulation.planted.history import serving_a_snapshot_before_what_it_shows_is_applied

SECOND_US = 1_000_000
TICK_MS = 100
TIMEOUT_MS = 4000
DELIVERY_MS = 20  # a proposal, its syncs, the ACK and the COMMIT, where nothing is slow


class Story:
    """An ensemble in which nothing goes wrong but what the test does. client: the first of its clients."""

    def __init__(self, servers=3, observers=0, clients=1):
        plan = Plan(
            voters=servers,
            observers=observers,
            clients=clients,
            tick_ms=TICK_MS,
            init_limit=10,
            sync_limit=4,
            timeout_ms=TIMEOUT_MS,
            delay_us=500,
            cut_probability=0.0,
            flush_us=500,
            snap_count=1000,
            in_order=True,
            rates_pm=(1000,) * (servers + observers),
            operations=[],
            faults=[],
            end_us=0,
        )
        self.world = Ensemble(plan, lambda purpose: Random(f"story/{purpose}"))
        self.ledger = self.world.ledger
        self.client = self.world.clients[0]
        self.number = 0
        self.until(self.whole)

    def whole(self):
        return all(node.up and node.member.serving for node in self.world.nodes.values()) and self.client.connected

    def until(self, true, limit_us=20 * SECOND_US):
        """Let time pass, an event at a time, until something is true."""
        end_us = self.world.timeline.now_us + limit_us
        while not true():
            assert self.world.timeline.now_us < end_us, "\n".join([*self.world.notes, "it never came to that"])
            self.world.timeline.step()

    @property
    def leader(self):
        return self.world.leader()

    def followers(self, leader):
        return [node for node in self.world.nodes.values() if node is not leader]

    def shadow(self, node):
        return self.ledger.shadows[node.sid]

    def attach(self, node, client=None):
        """Let a client, the first one unless another is named, be connected to this server."""
        client = client or self.client
        client._servers = [node.sid]
        client.hang_up()
        self.until(lambda: client.connected)

    def requests(self):
        """How many requests followers have sent on to their leader."""
        return self.world.packets.get("REQUEST", 0)

    def act_and_wait(self, kind, client):
        client.act(Operation(0, 0, kind, 0, 0, False))
        self.until(lambda: client.idle)

    def write(self):
        self.number += 1
        self.client.act(Operation(0, 0, "create sequential", 0, self.number, False))

    def write_and_wait(self):
        tip = self.ledger.tip
        self.write()
        self.until(lambda: self.ledger.tip > tip and self.client.idle)

    def cut(self, node, *others):
        """Nothing gets from `node` to the others."""
        directions = [(node.sid, other.sid) for other in others]
        self.world.network.block(directions)
        return lambda: self.world.network.unblock(directions)

    def start(self, node):
        node.disk.restart()
        self.world._start(node, node.life)

    def down(self, node):
        """Cut the power, for as long as the test wants."""
        self.world.cut_power(node)
        node.life += 1  # what was to restart it is void

    def end(self):
        for client in self.world.clients:
            client._servers = list(self.world.nodes)
        self.world.recover()

    def committed(self):
        return [each.zxid for each in self.ledger.reference.order]


@pytest.fixture
def story():
    return Story()


def test_leader_that_committed_and_died_before_any_commit_left(story):
    leader = story.leader
    story.attach(leader)
    story.write_and_wait()
    one, other = story.followers(leader)
    heal = story.cut(leader, other)  # the other follower does not even get the proposal
    before, commits = story.ledger.tip, story.world.packets["COMMIT"]
    story.write()
    story.until(lambda: leader.peer.committed_zxid > before)
    zxid = leader.peer.committed_zxid
    assert story.world.packets["COMMIT"] == commits
    assert one.peer.committed_zxid == other.peer.committed_zxid == before
    story.down(leader)
    assert story.shadow(other).durable < zxid == story.shadow(one).durable
    heal()
    story.until(lambda: story.leader is not None)
    assert story.leader is one
    story.start(leader)
    story.end()
    assert zxid in story.committed()


def one_that_logged_alone(story):
    """A leader that is down, with the zxid only its disk has; the others have elected another."""
    leader = story.leader
    story.attach(leader)
    story.write_and_wait()
    heal = story.cut(leader, *story.followers(leader))
    before = story.ledger.tip
    story.write()
    story.until(lambda: story.shadow(leader).durable > before)
    zxid = story.shadow(leader).durable
    story.down(leader)
    heal()
    story.until(lambda: story.leader is not None)
    return leader, zxid


def test_leader_that_logged_a_proposal_and_died_before_sending_it(story):
    leader, zxid = one_that_logged_alone(story)
    truncated = story.world.counts.get("Truncate", 0)
    story.start(leader)  # nothing has been written in the new epoch: what it has too much is taken back
    story.until(lambda: leader.up and leader.member.serving)
    assert story.world.counts["Truncate"] == truncated + 1
    story.end()
    assert zxid not in story.committed()


def test_the_same_where_the_new_leader_has_written_already(story):
    leader, zxid = one_that_logged_alone(story)
    story.attach(story.leader)
    story.write_and_wait()
    story.start(leader)
    story.until(lambda: leader.up and leader.member.serving)
    story.world.kill(leader, 1)  # its disk may still have the entry somewhere: it must not come back from there
    story.until(lambda: leader.up and leader.member.serving)
    story.end()
    assert zxid not in story.committed()


def test_proposal_that_reached_one_follower_survives_or_goes_as_one(story):
    leader = story.leader
    story.attach(leader)
    story.write_and_wait()
    one, other = story.followers(leader)
    heal = story.cut(leader, other)
    deaf = story.cut(one, leader)  # its ACK does not arrive: the leader does not commit
    before = story.ledger.tip
    story.write()
    story.until(lambda: story.shadow(one).durable > before and story.shadow(leader).durable > before)
    zxid = story.shadow(one).durable
    story.down(leader)
    heal()
    deaf()
    story.until(lambda: story.leader is not None)
    assert story.leader is one  # it has more
    story.start(leader)
    story.end()
    assert zxid in story.committed()


def test_leader_in_a_minority_commits_nothing_and_steps_down(story):
    leader = story.leader
    story.attach(leader)
    story.write_and_wait()
    others = story.followers(leader)
    heals = [story.cut(leader, *others), *(story.cut(other, leader) for other in others)]
    before = story.ledger.tip
    story.write()
    story.until(lambda: story.shadow(leader).durable > before)
    story.until(lambda: not leader.member.serving)
    story.until(lambda: story.leader is not None)
    assert story.leader in others
    for heal in heals:
        heal()
    story.end()
    assert all(zxid >> 32 > 1 or zxid <= before for zxid in story.committed())


def test_paused_leader_does_not_answer_a_sync_from_the_past(story):
    leader = story.leader
    story.attach(leader)
    story.write_and_wait()
    leader.pause()
    story.until(lambda: story.leader not in (None, leader))
    story.world.judge.newest_seen = story.ledger.tip + 1  # as if another client had written meanwhile
    story.client.act(Operation(0, 0, "sync get", 0, 0, False))
    arrived_us = story.world.timeline.now_us + 10_000
    story.until(lambda: story.world.timeline.now_us > arrived_us)
    leader.resume()
    story.until(lambda: not leader.member.serving)
    story.world.judge.newest_seen = story.ledger.tip
    story.end()


def connect_to_one_that_stands_still(story):
    """The client connects to a server whose kernel alone answers, and says its first words."""
    client, still = story.client, story.followers(story.leader)[0]
    story.attach(still)
    still.pause()
    client.hang_up(away_us=2000)
    story.until(lambda: client._side is not None)
    story.until(lambda: not client._side.peer._inbox)  # what it has said is there
    assert not client.connected
    return client, still


def test_a_client_that_connects_to_a_server_that_stands_still_is_greeted_once_it_goes_on(story):
    client, still = connect_to_one_that_stands_still(story)
    attempt = client._attempt
    still.resume()
    story.until(lambda: client.connected)
    assert client._attempt == attempt


def test_a_client_that_gives_up_a_server_that_stands_still_leaves_no_connection_there(story):
    client, still = connect_to_one_that_stands_still(story)
    client._servers = [story.leader.sid]
    client.hang_up(away_us=2000)
    story.until(lambda: client.connected)
    still.resume()
    story.until(lambda: not still.member.connections, DELIVERY_MS * 1000)
    assert still.member.serving  # or it would have hung up on all
    assert not still._sides


def test_only_one_slow_disk_of_three_is_waited_for_by_nobody(story):
    leader = story.leader
    story.attach(leader)
    leader.slow_disk = 1000
    before = story.ledger.tip
    story.write()
    one, other = story.followers(leader)
    story.until(lambda: story.shadow(one).durable > before and story.shadow(other).durable > before)
    zxid = story.shadow(one).durable
    story.until(lambda: leader.peer.committed_zxid >= zxid)
    assert story.shadow(leader).durable < zxid
    assert story.shadow(leader).applied < zxid  # its own tree is not ahead of its log
    leader.slow_disk = 1
    story.end()
    assert zxid in story.committed()


def test_observers_and_a_minority_elect_nobody():
    story = Story(servers=3, observers=2)
    leader = story.leader
    voter = next(node for node in story.followers(leader) if story.shadow(node).voter)
    story.down(leader)
    story.down(voter)
    end_us = story.world.timeline.now_us + 20 * SECOND_US
    story.until(lambda: story.world.timeline.now_us > end_us, 30 * SECOND_US)
    assert story.leader is None
    story.start(leader)
    story.start(voter)
    story.end()


def test_session_and_its_ephemeral_znode_survive_the_leader(story):
    leader = story.leader
    one, _ = story.followers(leader)
    story.attach(one)
    story.client.act(Operation(0, 0, "create ephemeral", 0, 7, False))
    story.until(lambda: b"/k0" in story.ledger.reference.tree.nodes)
    session_id = story.client.session_id
    story.down(leader)
    story.until(lambda: story.leader is not None)
    story.attach(story.leader)
    assert story.client.session_id == session_id
    assert b"/k0" in story.ledger.reference.tree.nodes
    story.start(leader)
    story.end()
    assert session_id in story.ledger.reference.tree.sessions


@pytest.mark.parametrize("phase_ms", range(0, TICK_MS, 10))
def test_ephemeral_znode_of_a_silent_client_goes_within_a_bucket_of_its_timeout(story, phase_ms):
    one, _ = story.followers(story.leader)
    story.attach(one)
    begin_us = story.world.timeline.now_us + phase_ms * 1000  # wherever in a bucket that is
    story.until(lambda: story.world.timeline.now_us >= begin_us)
    requests = story.requests()
    story.client.act(Operation(0, 0, "create ephemeral", 0, 7, False))
    story.client.active = False  # it neither pings any more nor comes back
    story.until(lambda: story.requests() > requests)
    heard_us = story.world.timeline.now_us
    nodes = story.world.nodes.values()
    story.until(lambda: all(b"/k0" in node.member.tree.nodes for node in nodes))
    gone_us = {}

    def gone():
        for node in nodes:
            if b"/k0" not in node.member.tree.nodes:
                gone_us.setdefault(node.sid, story.world.timeline.now_us)
        return len(gone_us) == len(nodes)

    story.until(gone)
    lived_ms = [(each - heard_us) / 1000 for each in gone_us.values()]
    word_ms = TICK_MS / 2  # a follower tells of its clients in answer to pings, which come so often
    look_ms = TICK_MS / 2  # a leader looks so often whose time is up
    assert min(lived_ms) >= TIMEOUT_MS
    assert max(lived_ms) <= word_ms + TIMEOUT_MS + TICK_MS + look_ms + DELIVERY_MS


def test_read_at_a_follower_is_answered_from_its_own_tree():
    story = Story(clients=2)
    leader = story.leader
    one, _ = story.followers(leader)
    story.attach(one)
    other = story.world.clients[1]
    story.attach(leader, other)
    story.act_and_wait("create", other)
    story.until(lambda: one.member.tree.last_zxid == story.ledger.tip)
    heals = [story.cut(leader, one), story.cut(one, leader)]
    cut_us, requests = story.world.timeline.now_us, story.requests()
    story.act_and_wait("set", other)  # one sees nothing of it
    story.until(lambda: story.world.timeline.now_us > cut_us + 2 * TICK_MS * 1000)
    story.act_and_wait("get", story.client)
    assert one.member.serving and one.peer.in_touch(TIMEOUT_MS)
    assert story.requests() == requests
    answer = story.client.history[-1]
    assert (answer.error, answer.zxid) == (0, one.member.tree.last_zxid)
    assert answer.zxid < story.ledger.tip
    for heal in heals:
        heal()
    story.end()


def test_all_die_at_once_and_nothing_committed_is_lost(story):
    story.attach(story.leader)
    for _ in range(5):
        story.write_and_wait()
    story.write()
    story.until(lambda: any(shadow.logged > story.ledger.tip for shadow in story.ledger.shadows.values()))
    committed = story.committed()
    for node in story.world.nodes.values():
        story.down(node)
    for node in story.world.nodes.values():
        story.start(node)
    story.end()
    assert story.committed()[: len(committed)] == committed


def test_wiped_follower_comes_back_by_a_snapshot(story):
    leader = story.leader
    story.attach(leader)
    for _ in range(5):
        story.write_and_wait()
    one, _ = story.followers(leader)
    story.down(one)
    story.world.nemesis.replace_disk(one)
    story.world._start(one, one.life)
    story.until(lambda: one.up and one.member.serving)
    assert story.world.counts["InstallSnapshot"] == 1
    story.end()


def test_that_a_sync_answered_without_asking_a_quorum_is_found(story, monkeypatch):
    sync_answered_without_asking_a_quorum(monkeypatch)
    with pytest.raises(InvariantBroken, match="C2"):
        test_paused_leader_does_not_answer_a_sync_from_the_past(story)


def test_learner_joins_by_a_snapshot_while_others_write(story):
    leader = story.leader
    story.attach(leader)
    story.client.act(Operation(0, 0, "create", -1, 0, False))
    for _ in range(60):
        story.write()
    story.client.act(Operation(0, 0, "create", 0, 0, False))  # what is made last is dumped last
    story.until(lambda: story.client.idle)
    one, _ = story.followers(leader)
    story.down(one)
    story.world.nemesis.replace_disk(one)
    one.slow_disk = 50
    story.world._start(one, one.life)
    story.until(lambda: story.world.packets.get("SNAP", 0))
    for number in range(30):
        story.client.act(Operation(0, 0, "set", 0, number, False))
    story.until(lambda: one.up and one.member.serving)
    story.end()


def test_that_serving_such_a_snapshot_too_early_is_found(story, monkeypatch):
    serving_a_snapshot_before_what_it_shows_is_applied(monkeypatch)
    with pytest.raises(InvariantBroken, match="Z13"):
        test_learner_joins_by_a_snapshot_while_others_write(story)


def test_epochs_end_for_want_of_zxids_and_no_answered_write_is_lost(story, monkeypatch):
    monkeypatch.setattr(leader_module, "LAST_COUNTER", 8)
    story.client.act(Operation(0, 0, "create", -1, 0, False))
    for _ in range(60):
        story.write()
        story.until(lambda: story.client.idle and story.client.connected)
    story.end()
    answered = [call.zxid for call in story.client.history if call.kind == op.CREATE2 and call.returned_us != -1]
    committed = story.committed()
    assert set(answered) <= set(committed)
    assert len({zxid >> 32 for zxid in committed}) > 5
    assert max(zxid & 0xFFFFFFFF for zxid in committed) == 8
    assert len(answered) > 40  # each end of an epoch costs one
