"""What a new proposer does with what acceptors have accepted."""

import pytest

from recipes.core.paxos.numbers import ACCEPTED, proposer_of
from recipes.core.paxos.protocol import PAXOS
from recipes.core.replicas.terms import TERM
from tests.core.replica_suite import Rig, propose


@pytest.fixture
def rig():
    return Rig(PAXOS, 3)


def left_alone(rig):
    """Only one of two followers has the leader's last entries; then the leader dies. That follower, and the other."""
    leader = rig.serve()
    has, lacks = rig.followers()
    lacks.stuck = True
    made = propose(leader, 3)
    rig.until(lambda: leader.zxids == made and has.zxids == made)
    has.replica._election.tick = lambda: None  # it does not stand itself
    rig.kill(leader.sid)
    rig.kill(lacks.sid)
    back = type(lacks)(rig, lacks.sid, lacks.log, lacks.cells)
    rig.servers[lacks.sid] = back
    assert back.logged == []
    return has, back, made


def test_a_proposer_that_lacks_entries_learns_them_from_a_promise(rig):
    has, lacks, made = left_alone(rig)
    rig.until(lambda: lacks.replica.leader is not None and lacks.replica.serving and has.replica.serving)
    assert lacks.logged == has.logged == made
    assert lacks.zxids == made
    assert proposer_of(lacks.replica.epoch) == lacks.sid
    assert has.cells[ACCEPTED] == lacks.cells[ACCEPTED] == lacks.cells[TERM] == b"%d" % lacks.replica.epoch
    more = propose(lacks)
    rig.until(lambda: has.logged == lacks.logged == made + more)


def test_what_a_promise_calls_chosen_is_applied_without_a_vote(rig):
    _, lacks, made = left_alone(rig)
    rig.until(lambda: lacks.replica.leader is not None and lacks.replica.leader.prepared)
    assert lacks.replica.committed_zxid == made[-1]
    assert not lacks.replica.serving  # what it began with has no majority in its ballot yet


def test_entries_that_nobody_else_has_go_when_a_higher_ballot_begins(rig):
    leader = rig.serve()
    first, second = rig.followers()
    first.stuck = second.stuck = True
    propose(leader, 2)
    rig.until(lambda: len(leader.logged) == 2)
    log, cells = leader.log, leader.cells
    rig.kill(leader.sid)
    for each in (first, second):
        rig.kill(each.sid)
        rig.servers[each.sid] = type(each)(rig, each.sid, each.log, each.cells)
    rig.until(lambda: all(server.replica.serving for server in rig.servers.values()))
    again = next(server for server in rig.servers.values() if server.replica.leader is not None)
    more = propose(again)
    back = rig.servers[leader.sid] = type(leader)(rig, leader.sid, log, cells)
    rig.until(lambda: back.replica.serving and back.zxids == more)
    assert [entry.zxid for entry in back.log] == [entry.zxid for entry in again.log] == more
