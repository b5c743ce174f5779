"""What a leader makes of requests that learners send on, wherever the session's client is by now."""

from recipes.core.codes import NO_AUTH, SESSION_MOVED
from recipes.core.forwarding import Forwarded
from recipes.core.jute import opcodes as op
from recipes.core.member.config import MemberConfig
from recipes.core.member.leading import Leading
from recipes.core.tree.tree import DataTree

SESSION = 77
TIMEOUT_MS = 10_000
OLD_LINK, NEW_LINK = 1, 2


class Proposals:
    """A Leadership that keeps what is proposed."""

    def __init__(self):
        self.txns = []

    def propose(self, entry):
        self.txns.append(entry.txn)


def leading():
    """A leader, what it proposes, and a session that came over OLD_LINK and went on over NEW_LINK."""
    tree, proposals = DataTree(), Proposals()
    tree.apply((SESSION, 0, 1, 0, op.CREATE_SESSION, (TIMEOUT_MS,)))
    leader = Leading(MemberConfig(), tree, proposals, 0, 0)
    for link in (OLD_LINK, NEW_LINK):
        assert leader.revalidate(SESSION, TIMEOUT_MS, link, 0)
    return leader, proposals


def closing(cxid, link):
    return Forwarded(link, SESSION, cxid, op.CLOSE_SESSION, b"", ())


def test_a_closing_that_comes_late_over_the_old_link_does_not_end_the_session():
    leader, proposals = leading()
    leader.take_request(closing(17, OLD_LINK), 0, 0)
    assert proposals.txns[-1][4:] == (op.ERROR, (SESSION_MOVED,))
    assert leader.revalidate(SESSION, TIMEOUT_MS, NEW_LINK, 0)
    leader.take_request(closing(18, NEW_LINK), 0, 0)
    assert proposals.txns[-1][4] == op.CLOSE_SESSION
    assert not leader.revalidate(SESSION, TIMEOUT_MS, NEW_LINK, 0)


def test_a_silent_session_ends_over_whatever_link_it_came():
    leader, proposals = leading()
    assert leader.tick(2 * TIMEOUT_MS, 0) == 1
    assert proposals.txns[-1][4] == op.CLOSE_SESSION


def test_interop_6_each_server_says_itself_whether_acls_count():
    body = b"\0\0\0\2/x" + b"\xff" * 8
    for skip, code in ((False, NO_AUTH), (True, None)):
        tree, proposals = DataTree(), Proposals()
        tree.apply((SESSION, 0, 1, 0, op.CREATE_SESSION, (TIMEOUT_MS,)))
        tree.apply((SESSION, 1, 2, 0, op.CREATE, (b"/x", b"", ((31, b"digest", b"bob:x"),), False, 1)))
        leader = Leading(MemberConfig(skip_acl=skip), tree, proposals, 0, 0)
        leader.revalidate(SESSION, TIMEOUT_MS, NEW_LINK, 0)
        leader.take_request(Forwarded(NEW_LINK, SESSION, 2, op.SET_DATA, body, ()), 0, 0)
        kind, record = proposals.txns[-1][4:]
        assert (kind, record) == (op.ERROR, (code,)) if code else kind == op.SET_DATA
