"""What every Replica does, whatever its protocol: a test class names the protocol and inherits one of the suites below.

The rig joins Replicas by hand: it delivers what they send, and says when their disks are done.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

import pytest

from recipes.core.forwarding import Forwarded, Revalidate, Revalidated, SessionsTouched
from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import blank_txn
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.replication import Cell, Entry, Recovered, ReplicaSettings, ReplicationProtocol, Truncate
from recipes.core.zxid import start_of

TICK_MS = 100
STEP_MS = 10


class Server:
    """A Replica, its disk and its Member. log, cells: what the disk has; stuck: the disk does nothing.

    applied: zxids and tokens, as they were committed. events: for the Member, in order.
    """

    def __init__(self, rig: Rig, sid: int, log: list[Entry], cells: dict[str, bytes]) -> None:
        self.rig, self.sid, self.log, self.cells = rig, sid, log, cells
        self.stuck = False
        self.writes: deque[Any] = deque()
        self.applied: list[Any] = []
        self.events: list[Any] = []
        protocol = rig.protocol
        self.cells = dict(protocol.settle(cells, {}, self.log[-1].zxid if log else 0))
        last_zxid = log[-1].zxid if log else 0
        found = Recovered(0, last_zxid, 0, (), list(log), 0, self.cells, "", last_zxid if protocol.logged_counts else 0)
        self.replica = protocol.start(ReplicaSettings(sid, rig.membership, TICK_MS), found, rig.now_ms)

    def take(self) -> None:
        ready = self.replica.take_ready()
        self.writes += ready.writes
        for commit in ready.commits:
            if isinstance(commit, Entry):
                assert commit.zxid in [entry.zxid for entry in self.log], "committed before it is on this disk"
            self.applied.append(commit.zxid if isinstance(commit, Entry) else commit.token)
        self.events += ready.events

    def write(self) -> None:
        while self.writes and not self.stuck:
            write = self.writes.popleft()
            if isinstance(write, Entry):
                self.log.append(write)
                self.replica.flushed(write.zxid)
            elif isinstance(write, Cell):
                self.cells[write.name] = write.value
                self.replica.written(write, 0)
            elif isinstance(write, Truncate):
                self.log = [entry for entry in self.log if entry.zxid <= write.zxid]
                self.replica.written(write, write.zxid)
            else:
                pytest.fail(f"not in these stories: {write}")
            self.take()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def zxids(self) -> list[int]:
        """What was applied of that which a Member made: a protocol may have entries of its own."""
        return [each for each in self.applied if each in self.rig.proposed]

    @property
    def logged(self) -> list[int]:
        """The same of the log."""
        return [entry.zxid for entry in self.log if entry.zxid in self.rig.proposed]

    @property
    def handed_over(self) -> list[Any]:
        """The same, with the tokens."""
        return [each for each in self.applied if not isinstance(each, int) or each in self.rig.proposed]


class Rig:
    """Servers 1 to `size`. ends: (server, link) -> the other end. proposed: all zxids that a Member made."""

    def __init__(self, protocol: ReplicationProtocol, size: int) -> None:
        self.protocol = protocol
        self.now_ms = 1000
        self.membership = Membership([QuorumServer(sid, "h", 1, 2) for sid in range(1, size + 1)])
        self.ends: dict[tuple[int, int], tuple[Server, Any]] = {}
        self.proposed: list[int] = []
        self.servers = {sid: Server(self, sid, [], {}) for sid in range(1, size + 1)}

    def step(self) -> None:
        self.now_ms += STEP_MS
        for server in list(self.servers.values()):
            replica = server.replica
            replica.begin_turn(self.now_ms)
            if replica.deadline_ms is not None and replica.deadline_ms <= self.now_ms:
                replica.tick()
            server.take()
            self.post(server)
            server.write()

    def post(self, server: Server) -> None:
        outbox = server.replica.take_outbox()
        if outbox is None:
            return
        for sid, note in outbox.votes:
            if sid in self.servers:
                self.servers[sid].replica.notified(server.sid, note)
        for link in outbox.touched:
            other = self.ends.get((server.sid, link.key))
            data = b"".join(item if isinstance(item, bytes) else b"".join(item) for item in link.out)
            link.out.clear()
            if other is not None and data:
                other[1].receive(data)
            if link.wants_close:
                self.cut(server, link)
        if outbox.dial is not None:
            self.dial(server, outbox.dial)

    def dial(self, server: Server, sid: int) -> None:
        callee = self.servers.get(sid)
        there = callee.replica.accept() if callee is not None and callee.replica.listening else None
        if callee is None or there is None:
            server.replica.dial_failed(sid)
            return
        here = server.replica.dialled(sid)
        if here is None:
            there.lost()
            return
        self.ends[server.sid, here.key] = callee, there
        self.ends[callee.sid, there.key] = server, here

    def cut(self, server: Server, link: Any) -> None:
        other = self.ends.pop((server.sid, link.key), None)
        link.lost()
        if other is not None:
            self.ends.pop((other[0].sid, other[1].key), None)
            other[1].lost()

    def kill(self, sid: int) -> None:
        for place in [place for place in self.ends if place[0] == sid]:
            other, link = self.ends.pop(place)
            self.ends.pop((other.sid, link.key), None)
            link.lost()
        del self.servers[sid]

    def until(self, holds: Any) -> None:
        for _ in range(3000):
            self.step()
            if holds():
                return
        raise AssertionError("it did not come about in 30 s")

    def serve(self) -> Server:
        """Run until all serve; return the leader."""
        self.until(lambda: all(server.replica.serving for server in self.servers.values()))
        (leader,) = [server for server in self.servers.values() if server.replica.leader is not None]
        return leader

    def followers(self) -> list[Server]:
        return [server for server in self.servers.values() if server.replica.leader is None]


def propose(leader: Server, count: int = 1) -> list[int]:
    """The leader's Member makes txns."""
    replica = leader.replica
    made = []
    for _ in range(count):
        last = max([start_of(replica.epoch), *(entry.zxid for entry in leader.log), *leader.rig.proposed])
        leader.rig.proposed.append(last + 1)
        replica.leader.propose(Entry(last + 1, blank_txn(last + 1)))
        made.append(last + 1)
    return made


class ReplicaSuite:
    """protocol: what is tested. size: of the ensemble."""

    protocol: ReplicationProtocol
    size = 3

    @pytest.fixture
    def rig(self) -> Rig:
        return Rig(self.protocol, self.size)

    def test_entries_are_committed_everywhere_in_order(self, rig):
        leader = rig.serve()
        made = propose(leader, 3)
        rig.until(lambda: all(server.zxids == made for server in rig.servers.values()))
        assert len({tuple(entry.payload for entry in server.log) for server in rig.servers.values()}) == 1

    def test_a_server_hands_over_nothing_that_its_own_disk_lacks(self, rig):
        leader = rig.serve()
        for slow in rig.servers.values():
            slow.stuck = True
            made = propose(leader)
            for _ in range(5):
                rig.step()
            assert made[0] not in slow.zxids
            slow.stuck = False
            rig.until(lambda made=made: all(made[0] in server.zxids for server in rig.servers.values()))

    def test_a_sync_stands_behind_what_was_proposed_before(self, rig):
        leader = rig.serve()
        made = propose(leader, 2)
        leader.replica.sync("token", 7, 1, b"\0\0\0\1/", ())
        rig.until(lambda: leader.handed_over == [*made, "token"])

    def test_a_sync_with_nothing_before_it_comes_back_too(self, rig):
        leader = rig.serve()
        leader.replica.sync("token", 7, 1, b"\0\0\0\1/", ())
        rig.until(lambda: leader.handed_over == ["token"])

    def test_what_was_decided_is_taken_once(self, rig):
        leader = rig.serve()
        propose(leader)
        leader.take()
        again = leader.replica.take_ready()
        assert (again.writes, again.commits, again.events) == ([], [], [])


class EnsembleSuite(ReplicaSuite):
    """For protocols of more than one server. needs_all: an entry is committed once all disks have it, not a quorum."""

    needs_all = False

    def test_one_leads_and_the_others_follow_it(self, rig):
        leader = rig.serve()
        assert all(server.replica.learner is not None for server in rig.followers())
        assert len({server.replica.epoch for server in rig.servers.values()}) == 1
        assert all(server.replica.status().leader == leader.sid for server in rig.servers.values())

    def test_nobody_serves_before_its_leader_does(self, rig):
        """A follower that serves forwards requests, and a leader that does not serve yet would drop them."""
        servers = rig.servers.values()
        for _ in range(10 * TICK_MS // STEP_MS):
            for server in servers:
                server.stuck = server.replica.leader is not None
            rig.step()
            if any(server.replica.serving for server in servers):
                assert any(server.stuck and server.replica.serving for server in servers)
        for server in servers:
            server.stuck = False
        rig.serve()

    def test_nothing_is_committed_by_fewer_disks_than_a_quorum(self, rig):
        leader = rig.serve()
        for server in rig.followers():
            server.stuck = True
        made = propose(leader)
        for _ in range(5):
            rig.step()
        assert not any(server.zxids for server in rig.servers.values())
        first, *others = rig.followers()
        first.stuck = False
        if self.needs_all:
            for _ in range(100):
                rig.step()
            assert not leader.zxids
            for other in others:
                other.stuck = False
        rig.until(lambda: leader.zxids == made)

    def test_a_followers_sync_comes_back_behind_what_was_proposed_before(self, rig):
        leader = rig.serve()
        server = rig.followers()[0]
        made = propose(leader, 2)
        server.replica.sync("token", 7, 1, b"\0\0\0\1/", ())
        rig.until(lambda: leader.of(Forwarded))
        (asked,) = leader.of(Forwarded)
        assert (asked.session_id, asked.cxid, asked.kind) == (7, 1, op.SYNC)
        leader.replica.leader.sync_learner(asked.link)
        rig.until(lambda: server.handed_over == [*made, "token"])

    def test_a_request_comes_to_the_leader_and_back_as_a_commit(self, rig):
        leader = rig.serve()
        server = rig.followers()[0]
        behind = server.replica.learner.forward(9, 4, op.SET_DATA, b"body", ((b"ip", b"h"),))
        rig.until(lambda: leader.of(Forwarded))
        (came,) = leader.of(Forwarded)
        assert came[1:] == (9, 4, op.SET_DATA, b"body", ((b"ip", b"h"),))
        made = propose(leader)
        rig.until(lambda: server.zxids == made)
        assert behind < made[0]

    def test_sessions_are_reported_and_asked_about(self, rig):
        leader = rig.serve()
        server = rig.followers()[0]
        server.replica.learner.touch(5, 4000)
        server.replica.learner.revalidate(6, 3000)
        rig.until(
            lambda: leader.of(Revalidate) and any((5, 4000) in each.sessions for each in leader.of(SessionsTouched))
        )
        (asked,) = leader.of(Revalidate)
        assert asked[1:] == (6, 3000)
        leader.replica.leader.answer_revalidate(asked.link, 6, True)
        rig.until(lambda: server.of(Revalidated) == [Revalidated(6, True)])

    def test_a_follower_that_was_away_gets_what_it_lacks(self, rig):
        leader = rig.serve()
        away = rig.followers()[0]
        rig.kill(away.sid)
        made = propose(leader, 3)
        rig.until(lambda: leader.logged == made and (self.needs_all or leader.zxids == made))
        back = rig.servers[away.sid] = Server(rig, away.sid, away.log, away.cells)
        rig.until(lambda: back.replica.serving and back.logged == made)

    def test_all_start_again_and_nothing_is_lost(self, rig):
        leader = rig.serve()
        made = propose(leader, 3)
        rig.until(lambda: all(server.zxids == made for server in rig.servers.values()))
        old = dict(rig.servers)
        for sid in old:
            rig.kill(sid)
        rig.servers = {sid: Server(rig, sid, server.log, server.cells) for sid, server in old.items()}
        again = rig.serve()
        more = propose(again)
        rig.until(lambda: all(server.logged == made + more for server in rig.servers.values()))
        assert again.replica.epoch > leader.replica.epoch

    def test_a_leader_without_followers_commits_nothing(self, rig):
        leader = rig.serve()
        for server in rig.followers():
            rig.kill(server.sid)
        propose(leader)
        for _ in range(300):
            rig.step()
        assert leader.zxids == []

    @pytest.mark.parametrize("seed", range(20))
    def test_no_bytes_raise_and_the_others_go_on(self, rig, seed):
        leader = rig.serve()
        chance = Random(seed)
        link = leader.replica.accept()
        link.receive(chance.randbytes(chance.randrange(1, 200)))
        link.receive((8).to_bytes(4, "big") + chance.randbytes(8))
        made = propose(leader)
        rig.until(lambda: all(server.zxids == made for server in rig.servers.values()))
