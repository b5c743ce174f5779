"""The end of a session while changes of its znodes are under way: the txn lists what is its own by then."""

import pytest

from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.codec import pack_int
from recipes.core.jute.records import ACL, Id
from recipes.core.jute.txns import decode_txn
from recipes.core.tree.prepare import Preparer
from recipes.core.tree.request import Request
from recipes.core.tree.sessions import SessionTracker
from recipes.core.tree.tree import DataTree

OPEN = (ACL(op.ALL, Id("world", "anyone")),)
LEAVING, STAYING = 1, 2


@pytest.fixture
def tree():
    return DataTree()


@pytest.fixture
def preparer(tree):
    tracker = SessionTracker(100)
    preparer = Preparer(tree, tracker)
    for session_id in (LEAVING, STAYING):
        tracker.add(session_id, 1000, 0)
        preparer.prepare(Request(session_id, 0, op.CREATE_SESSION, pack_int(1000)), 0)
    return preparer


def create(preparer, session_id, flags):
    body = rq.encode_create(b"/a", b"", OPEN, flags)
    return preparer.prepare(Request(session_id, 1, op.CREATE, body, (("world", "anyone"),)), 0)


def delete(preparer, session_id):
    return preparer.prepare(Request(session_id, 2, op.DELETE, rq.encode_path_version(b"/a", -1)), 0)


def apply(tree, preparer, entry):
    tree.apply(decode_txn(entry.payload)[0])
    preparer.applied(entry.zxid)


def close(preparer):
    return preparer.prepare(Request(LEAVING, 3, op.CLOSE_SESSION, b""), 0)


def test_a_znode_made_anew_as_its_own_goes_with_it(tree, preparer):
    apply(tree, preparer, create(preparer, STAYING, op.PERSISTENT))
    entries = [delete(preparer, STAYING), create(preparer, LEAVING, op.EPHEMERAL), close(preparer)]
    for entry in entries:
        apply(tree, preparer, entry)
    txn, digest = decode_txn(entries[-1].payload)
    assert txn[5] == ((b"/a",),)
    assert digest == tree.digest


def test_a_znode_another_has_by_then_stays(tree, preparer):
    apply(tree, preparer, create(preparer, LEAVING, op.EPHEMERAL))
    entries = [delete(preparer, STAYING), create(preparer, STAYING, op.PERSISTENT), close(preparer)]
    for entry in entries:
        apply(tree, preparer, entry)
    txn, digest = decode_txn(entries[-1].payload)
    assert txn[5] == ((),)
    assert digest == tree.digest
    assert b"/a" in dict(tree.items())


def test_what_a_failed_multi_took_away_and_made_anew_is_still_its_own(tree, preparer):
    entries = [create(preparer, LEAVING, op.EPHEMERAL)]
    parts = [
        (op.DELETE, rq.encode_path_version(b"/a", -1)),
        (op.CREATE, rq.encode_create(b"/a", b"", OPEN, op.EPHEMERAL)),
        (op.CREATE, rq.encode_create(b"/b", b"", OPEN, op.EPHEMERAL)),
        (op.CHECK, rq.encode_path_version(b"/none", -1)),
    ]
    entries.append(preparer.prepare(Request(LEAVING, 2, op.MULTI, rq.encode_multi(parts)), 0))
    entries.append(close(preparer))
    for entry in entries:
        apply(tree, preparer, entry)
    assert decode_txn(entries[-1].payload)[0][5] == ((b"/a",),)
    assert not tree.ephemerals
    assert tree.digest == entries[-1].digest


def test_znodes_of_a_session_that_has_ended_are_forgotten_a_few_at_a_time(tree, preparer):
    made = [rq.encode_create(b"/%d" % at, b"", OPEN, op.EPHEMERAL) for at in range(1300)]
    for body in made:
        apply(tree, preparer, preparer.prepare(Request(LEAVING, 1, op.CREATE, body), 0))
    apply(tree, preparer, close(preparer))
    pending = preparer.pending
    assert pending.removed
    again = [preparer.prepare(Request(STAYING, 1, op.CREATE, body), 0) for body in made[:400:100]]
    apply(tree, preparer, again[0])
    pending.forget_some(1)
    for entry in again[1:3]:
        apply(tree, preparer, entry)
    assert {path for path in map(b"/%d".__mod__, range(1300)) if pending.find(path)} == {
        b"/0",
        b"/100",
        b"/200",
        b"/300",
    }
    while pending.removed:
        pending.forget_some(300)
    assert {path for path in map(b"/%d".__mod__, range(1300)) if pending.find(path)} == {
        b"/0",
        b"/100",
        b"/200",
        b"/300",
    }
    entry = preparer.prepare(Request(STAYING, 1, op.CLOSE_SESSION, b""), 0)
    assert sorted(decode_txn(entry.payload)[0][5][0]) == [b"/0", b"/100", b"/200", b"/300"]
    for each in (again[3], entry):
        apply(tree, preparer, each)
    assert tree.digest == entry.digest
    assert not pending._changes
    assert not pending._owned
