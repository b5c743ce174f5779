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
