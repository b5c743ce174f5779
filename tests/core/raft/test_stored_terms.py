"""Whatever terms are stored, a quorum comes together, and then the others join."""

from itertools import product

import pytest

from recipes.core.jute.txns import blank_txn
from recipes.core.raft.claims import MOST_CLAIMED
from recipes.core.raft.protocol import RAFT
from recipes.core.raft.terms import VOTE
from recipes.core.replicas.terms import TERM
from recipes.core.replication import Entry
from tests.core.replica_suite import STEP_MS, TICK_MS, Rig, Server

T1 = 1 << 32
# The term of a server, and where its log ends. A run of ours leaves a few failed elections between them; the others are
# such as strangers could bring about in earlier versions.
TERMS = (1, 2, 3, 6, 33554528, 50332183, MOST_CLAIMED - 99)
FEW = (1, 2, 33554528, 50332183)
LOGS = ((T1 + 1,), (T1 + 1, T1 + 2))


def comes_together(stored, up):
    """Those of the servers that are up start so, and two of them, or all, serve in the end."""
    rig = Rig(RAFT, 3)
    rig.servers = {}
    for sid in up:
        term, log = stored[sid]
        entries = [Entry(zxid, blank_txn(zxid)) for zxid in log]
        rig.servers[sid] = Server(rig, sid, entries, {TERM: b"%d" % term, VOTE: b"%d %d" % (term, sid)})
    for _ in range(1000 * TICK_MS // STEP_MS):
        serving = [sid for sid in up if rig.servers[sid].replica.serving]
        if len(serving) == len(up):
            break
        rig.step()
    terms = {rig.servers[sid].replica.epoch for sid in serving}
    assert len(serving) >= 2 and len(terms) == 1, (stored, up, serving, terms)
    (term,) = terms
    assert all(stored[sid][0] <= term for sid in serving)  # two may elect one of them in the term that the third is in
    assert term <= max(stored[sid][0] for sid in serving) + 8, (stored, up, term)
    # A third server stays out only where its term is too far ahead to be believed.
    assert all(stored[sid][0] > term + (1 << 16) for sid in up if sid not in serving), (stored, up, serving, term)
    return rig


@pytest.mark.parametrize("up", [(1, 2), (1, 3), (2, 3)])
def test_f1_any_two_servers_come_together_from_any_stored_terms(up):
    for pair in product(product(FEW, LOGS), repeat=2):
        comes_together(dict(zip(up, pair, strict=True)), up)


@pytest.mark.thorough  # the same with more terms and all three servers: 343 combinations
@pytest.mark.parametrize("first", TERMS)
def test_f1_all_three_servers_come_together_from_any_stored_terms(first):
    for number, others in enumerate(product(TERMS, repeat=2)):
        logs = [LOGS[number >> sid & 1] for sid in range(3)]
        comes_together(dict(enumerate(zip((first, *others), logs, strict=True), 1)), (1, 2, 3))


@pytest.mark.soak
@pytest.mark.parametrize("up", [(1, 2), (1, 3), (2, 3), (1, 2, 3)])
def test_f1_every_quorum_comes_together_from_more_terms(up):
    for chosen in product(product(TERMS, LOGS), repeat=3):
        comes_together(dict(enumerate(chosen, 1)), up)
