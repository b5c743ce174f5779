"""Messages between servers on the election port: the greeting of a connection, and notifications in frames.

Source: org.apache.zookeeper.server.quorum QuorumCnxManager.InitialMessage, FastLeaderElection.buildMsg and
WorkerReceiver.
"""

from struct import Struct
from typing import Final, NamedTuple

from recipes.core.errors import WireError
from recipes.core.jute.codec import text, un_int, un_long
from recipes.core.zxid import epoch_of

LOOKING: Final = 0
FOLLOWING: Final = 1
LEADING: Final = 2
OBSERVING: Final = 3
OTHER_PROTOCOL: Final = 16  # of a server of ours that does not run ZAB; Apache's servers drop it

MIN_ZXID: Final = -(2**63)  # Long.MIN_VALUE; a server without a vote sends it as zxid, leader and epoch
MAX_NOTIFICATION_BYTES: Final = 512 * 1024  # of a frame

_MAX_ADDRESS_BYTES: Final = 2048
_GREETING_V1: Final = -65536
_GREETING_V2: Final = -65535  # several addresses, with "|" between them
_GREETING: Final = Struct(">qqi")  # version, sid, length of the address

_NOTIFICATION_VERSION: Final = 2
_NOTIFICATION: Final = Struct(">iiqqqqii")  # the frame's length, the fields of _FIXED, length of the config
_FIXED: Final = Struct(">iqqqqi")
_SHORT: Final = Struct(">iqqq")  # the oldest format, without epoch and version


class Notification(NamedTuple):
    """A server's vote, as it sends it to the others.

    state: of the sender: LOOKING, FOLLOWING, LEADING, OBSERVING; or OTHER_PROTOCOL, and then the other fields mean what
        that protocol says.
    leader: sid of the server voted for. zxid, peer_epoch: last zxid and current epoch of that server.
    round: of the election; each server counts, and a lower count catches up ("electionEpoch", "logicalclock").
    config: the sender's membership, as text; empty if the message has none.
    """

    state: int
    leader: int
    zxid: int
    round: int
    peer_epoch: int
    config: bytes


def encode_notification(note: Notification) -> bytes:
    """A notification in its frame."""
    state, leader, zxid, election_round, peer_epoch, config = note
    length = _NOTIFICATION.size - 4 + len(config)
    head = (length, state, leader, zxid, election_round, peer_epoch, _NOTIFICATION_VERSION, len(config))
    return _NOTIFICATION.pack(*head) + config


def decode_notification(payload: bytes) -> Notification | None:
    """The notification in a frame; its length tells its format. None if it must be dropped, as ZooKeeper does."""
    size = len(payload)
    if size == _SHORT.size:
        state, leader, zxid, election_round = _SHORT.unpack(payload)
        peer_epoch, version = epoch_of(zxid), 0
    elif size >= _FIXED.size:
        state, leader, zxid, election_round, peer_epoch, version = _FIXED.unpack_from(payload)
    else:
        return None
    if not LOOKING <= state <= OBSERVING and state != OTHER_PROTOCOL:
        return None
    config = b""
    if version > 1 and size > _FIXED.size:
        at = _FIXED.size + 4
        length = un_int(payload, at - 4)[0] if size >= at else -1
        if not 0 <= length <= size - at:
            return None
        config = payload[at : at + length]
    return Notification(state, leader, zxid, election_round, peer_epoch, config)


class Greeting(NamedTuple):
    """The first bytes on a connection, from the server that dialled.

    addresses: host:port at which that server can be dialled; empty for servers older than ZooKeeper 3.5.
    """

    sid: int
    addresses: tuple[str, ...]


def encode_greeting(sid: int, address: str) -> bytes:
    """A greeting of version 1, which every server understands. Send it in one write: ZooKeeper reads only once."""
    raw = address.encode()
    return _GREETING.pack(_GREETING_V1, sid, len(raw)) + raw


def read_greeting(data: bytes) -> tuple[Greeting, int] | None:
    """The greeting at the beginning of `data`, and its end; None while bytes are missing. Raises WireError."""
    if len(data) < 8:
        return None
    version = un_long(data, 0)[0]
    if version >= 0:  # before 3.5 the greeting was only the sid
        return Greeting(version, ()), 8
    if version not in (_GREETING_V1, _GREETING_V2):
        raise WireError(f"greeting of version {version}: expected {_GREETING_V1} or {_GREETING_V2}")
    if len(data) < _GREETING.size:
        return None
    _, sid, length = _GREETING.unpack_from(data)
    if not 0 < length <= _MAX_ADDRESS_BYTES:
        raise WireError(f"address of {length} bytes in a greeting: expected 1 to {_MAX_ADDRESS_BYTES}")
    end = _GREETING.size + length
    if len(data) < end:
        return None
    addresses = text(data[_GREETING.size : end])
    return Greeting(sid, tuple(addresses.split("|")) if version == _GREETING_V2 else (addresses,)), end
