from recipes.core.quorum import Membership, QuorumServer
from recipes.core.replicas.read_index import ReadIndex

MEMBERSHIP = Membership([QuorumServer(sid, "h", 1, 2, sid == 4) for sid in (1, 2, 3, 4)])


def answers(index, committed_zxid, *rounds):
    found = []
    index.answer(committed_zxid, rounds, lambda link, token: found.append((link, token)))
    return found


def test_a_sync_waits_for_a_quorum_and_for_what_was_proposed():
    index = ReadIndex(1, MEMBERSHIP)
    index.ask(10, 3, None, "token")
    assert answers(index, 9, (2, 3)) == []
    assert answers(index, 10, (2, 2)) == []
    assert answers(index, 10, (4, 3)) == []  # an observer
    assert len(index) == 1
    assert answers(index, 10, (2, 3)) == [(None, "token")]
    assert answers(index, 10, (2, 3)) == []


def test_syncs_are_answered_in_their_order():
    index = ReadIndex(1, MEMBERSHIP)
    index.ask(10, 3, 7, None)
    index.ask(10, 4, None, "token")
    assert answers(index, 10, (2, 3), (3, 1)) == [(7, None)]
    assert answers(index, 10, (2, 3), (3, 4)) == [(None, "token")]
