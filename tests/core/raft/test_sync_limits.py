"""How many followers a leader brings to its log at once: a voter always, an observer if there is room."""

import pytest

from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.stages import ProgressStage
from recipes.core.replication import SnapshotRequested
from tests.core.raft.rig import Alone

T1 = 1 << 32
TREES = "1 servers are being sent the whole tree, all that maxConcurrentSnapSyncs allows: come again later"
ENTRIES = "1 servers are being sent what they lack, all that maxConcurrentDiffSyncs allows: come again later"


def led(**limits):
    it = Alone(log=(T1 + 1, T1 + 2), term=1, observers=3, **limits)
    it.lead()
    return it


def stored(it, link):
    """The follower's disk has the leader's log."""
    last = it.peer.history.last_zxid
    it.takes(link, w.encode_appended(it.peer.term, last, last, 1))


def gets_tree(it, sid):
    """A server without a log comes; return its link, and whether the tree is dumped for it."""
    it.events.clear()
    link = it.joined_by(sid, -1)
    return link, SnapshotRequested(link.key) in it.events


def gets_entries(it, sid):
    """A server comes that has the first entry; return its link, and whether it is sent the others."""
    link = it.joined_by(sid, T1 + 1)
    sent = it.takes(link, w.encode_appended(it.peer.term, T1 + 1, T1 + 1, 1))
    return link, any(isinstance(message, w.Append) and message.entries for message in sent)


@pytest.mark.parametrize(
    ("limits", "comes", "why"),
    [({"most_snaps": 1}, gets_tree, TREES), ({"most_diffs": 1}, gets_entries, ENTRIES)],
    ids=["tree", "entries"],
)
def test_an_observer_beyond_the_limit_is_told_why_and_comes_again(limits, comes, why):
    it = led(**limits)
    first, given = comes(it, 4)
    assert given
    refused, given = comes(it, 5)
    assert not given and it.sent[refused.key][-1] == w.Refused(why)
    assert f"server 5 is refused: {why}" in it.notes
    if comes is gets_tree:
        it.peer.leader.dumped(first.key, T1 + 2, iter([b"tree"]))
    assert not comes(it, 6)[1]  # the first one has been sent all of it, and not stored it yet
    stored(it, first)
    assert comes(it, 5)[1]


def test_a_place_is_free_again_when_a_follower_is_gone():
    it = led(most_snaps=1)
    gets_tree(it, 4)[0].lost()
    assert gets_tree(it, 5)[1]


def test_a_voter_counts_and_is_never_refused():
    it = led(most_snaps=1, most_diffs=1)
    assert gets_tree(it, 2)[1] and gets_tree(it, 3)[1]
    assert not gets_tree(it, 4)[1]
    it = led(most_snaps=1, most_diffs=1)
    assert gets_entries(it, 2)[1] and gets_entries(it, 3)[1]
    assert not gets_entries(it, 4)[1] and gets_tree(it, 5)[1]  # these two limits have nothing to do with each other


def test_an_observer_that_lacks_nothing_is_not_refused():
    it = led(most_diffs=1)
    gets_entries(it, 4)
    link = it.joined_by(5, it.peer.history.last_zxid)
    stored(it, link)
    assert it.peer.leader._links[link.key].joined


def test_a_search_that_ends_at_the_tree_is_limited_too():
    it = led(most_snaps=1)
    gets_tree(it, 4)
    link = it.joined_by(5, T1 + 2)
    it.peer.history.reset(it.peer.history.last_zxid)  # what it begins with is there no more
    (sent,) = it.takes(link, w.encode_appended(it.peer.term, T1 + 1, T1 + 1, 1))
    assert sent == w.Refused(TREES)
    assert it.peer.leader._links[link.key].stage is ProgressStage.REFUSED


def test_a_follower_that_is_refused_while_its_log_is_matched_looks_again():
    it = Alone()
    link = it.follow(2, 1)
    it.takes(link, w.encode_refused(TREES))
    assert it.peer.follower is None and TREES in it.peer.why_looking
    assert f"server 2 does not take this one: {TREES}" in it.notes


def test_a_refusal_comes_behind_the_hello():
    it = led(most_snaps=1)
    gets_tree(it, 4)
    link, _ = gets_tree(it, 5)
    hello = RAFT_MESSAGES.encode_hello(it.peer.ensemble, 1, it.peer.term, it.peer.history.last_zxid)
    assert it.sent[link.key] == [RAFT_MESSAGES.decode(hello[4:]), w.Refused(TREES)]
