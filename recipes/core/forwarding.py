"""What a server and its leader say to each other on behalf of clients, whatever the protocol that replicates.

A server that another one leads forwards the writes of its clients, reports the sessions that it has heard from, and
asks whether a session lives. The leader's Member gets this as events, and answers through a LearnerProxy.
"""

from typing import Final, NamedTuple, Protocol

from recipes.core.jute.records import Ids

_MAX_IDS: Final = 16


class Forwarded(NamedTuple):
    """A learner forwards a client's request, for the leader to prepare. link: of that learner."""

    link: int
    session_id: int
    cxid: int
    kind: int
    body: bytes
    ids: Ids


class SessionsTouched(NamedTuple):
    """Sessions a learner has heard from, with their timeouts in ms."""

    sessions: list[tuple[int, int]]


class Revalidate(NamedTuple):
    """A learner asks whether a session still lives whose client has connected to it."""

    link: int
    session_id: int
    timeout_ms: int


class Revalidated(NamedTuple):
    """The leader's answer to a Revalidate."""

    session_id: int
    valid: bool


class LeaderProxy(Protocol):
    """The Replica of a server that gets the txns from a leader.

    leader_is_ours: it is a server of this project, not Apache's.
    """

    leader_is_ours: bool

    def forward(self, session_id: int, cxid: int, kind: int, body: bytes, ids: Ids) -> int:
        """Send a client's write to the leader. It comes back as a commit behind the zxid returned."""
        ...

    def touch(self, session_id: int, timeout_ms: int) -> None:
        """Report to the leader that this server has heard from a session's client."""

    def revalidate(self, session_id: int, timeout_ms: int) -> None:
        """Ask the leader whether a session lives."""


class LearnerProxy(Protocol):
    """How the Member of a leader answers a server that it leads. link: of that server, as in the event."""

    def answer_revalidate(self, link: int, session_id: int, valid: bool) -> None:
        """Answer a Revalidate."""

    def sync_learner(self, link: int) -> None:
        """A learner asks for a `sync`, after everything that it has forwarded before."""


def can_be_forwarded(ids: Ids, limit_bytes: int) -> bool:
    """Whether the identities of a connection can be sent on to the leader with every write."""
    return len(ids) <= _MAX_IDS and sum(len(scheme) + len(ident) for scheme, ident in ids) <= limit_bytes
