"""What servers say to find a leader, in the notifications of the election port.

ZAB's servers and Apache's know notifications of four states, and drop others. These have a fifth: so a server of
another protocol is harmless, and each side can name the other. Any of these messages may be lost, come late or come
twice; a newer one may take the place of an older one that was not sent yet.
"""

from enum import IntEnum
from hashlib import sha256
from typing import Final, NamedTuple

from recipes.core.jute.votes import OTHER_PROTOCOL, Notification
from recipes.core.quorum import Membership
from recipes.core.replicas.wire import VERSION

# A server refuses a term that is further ahead of its own than this. Otherwise one faulty server could bring the
# ensemble to the largest term that fits into a zxid.
TERMS_AHEAD: Final = 1 << 24

_VERSION_SHIFT: Final = 8


class Kind(IntEnum):
    """What a ballot says. Each protocol uses some of these. The number of a leadership is called a term here: it is
    a term of raft, a ballot of Paxos, or a fence of primary-backup.
    """

    ASK_EARLY = 1  # "would you vote for me in the term behind mine?" (pre-vote); it changes no term
    GRANT_EARLY = 2  # "I would"; the term is that of the question
    ASK = 3  # "vote for me in this term"
    GRANT = 4  # "I have voted for you in this term"
    REFUSE = 5  # the answer no, to either question and to a leader of an earlier term; the term is the sender's
    LEADS = 6  # "I lead this term": the reader is to connect
    PREPARE = 7  # "promise me this ballot": the reader connects, and says what it has accepted


class Ballot(NamedTuple):
    """One message. zxid: where the log of a server that asks ends; -1 if it cannot be elected."""

    kind: Kind
    term: int
    zxid: int = 0


def ensemble_id(membership: Membership, *more: str) -> int:
    """A number of this ensemble, the same at all its servers: of their sids, and which of them vote.

    Hosts and ports are left out: where another server is reached may differ from server to server. more: what else
    must be the same.
    """
    lines = [f"{server.sid} {'observes' if server.observer else 'votes'}" for server in membership.servers.values()]
    return int.from_bytes(sha256("\n".join([*lines, *more]).encode()).digest()[:7], "big")


def to_notification(ballot: Ballot, ensemble: int, config: bytes) -> Notification:
    """The ballot as the election port carries it. config: the membership, as every notification has it."""
    return Notification(
        OTHER_PROTOCOL, ballot.kind | VERSION << _VERSION_SHIFT, ballot.zxid, ballot.term, ensemble, config
    )


def from_notification(note: Notification, ensemble: int, protocol: str) -> Ballot | str:
    """The ballot in a notification, or why it must be ignored, as the end of a sentence about its sender."""
    if note.state != OTHER_PROTOCOL:
        return "runs another protocol, zab, as Apache's servers do: set protocol= to the same value on all servers"
    kind, version = note.leader & ((1 << _VERSION_SHIFT) - 1), note.leader >> _VERSION_SHIFT
    if version != VERSION:
        return f"speaks version {version} of {protocol}: expected {VERSION}"
    if note.peer_epoch != ensemble:
        return "has another list of servers: give all servers the same server.N lines"
    if kind not in Kind.__members__.values() or note.round < 0:
        return f"sent a message that {protocol} does not have: {note.leader}"
    return Ballot(Kind(kind), note.round, note.zxid)
