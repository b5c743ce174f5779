"""Packets between a leader and its learners, on the quorum port.

They are records back to back, without frames around them. For the election port see votes.py.
Source: zookeeper.jute module quorum, and Leader, LearnerHandler, Learner of org.apache.zookeeper.server.quorum.
"""

from collections.abc import Iterable
from functools import partial
from struct import Struct
from typing import Final, NamedTuple, Protocol

from recipes.core.errors import WireError
from recipes.core.jute.codec import (
    NULL,
    pack_int,
    read_string,
    read_vector,
    un_int,
    write_buffer,
    write_vector,
)
from recipes.core.jute.dump import Dump, bounded, end_of_pairs
from recipes.core.jute.records import Ids

REQUEST: Final = 1
PROPOSAL: Final = 2
ACK: Final = 3
COMMIT: Final = 4
PING: Final = 5
REVALIDATE: Final = 6
SYNC: Final = 7
INFORM: Final = 8
COMMITANDACTIVATE: Final = 9
NEWLEADER: Final = 10
FOLLOWERINFO: Final = 11
UPTODATE: Final = 12
DIFF: Final = 13
TRUNC: Final = 14
SNAP: Final = 15
OBSERVERINFO: Final = 16
LEADERINFO: Final = 17
ACKEPOCH: Final = 18
INFORMANDACTIVATE: Final = 19

PACKET_NAMES: Final = {
    REQUEST: "REQUEST", PROPOSAL: "PROPOSAL", ACK: "ACK", COMMIT: "COMMIT", PING: "PING", REVALIDATE: "REVALIDATE",
    SYNC: "SYNC", INFORM: "INFORM", COMMITANDACTIVATE: "COMMITANDACTIVATE", NEWLEADER: "NEWLEADER",
    FOLLOWERINFO: "FOLLOWERINFO", UPTODATE: "UPTODATE", DIFF: "DIFF", TRUNC: "TRUNC", SNAP: "SNAP",
    OBSERVERINFO: "OBSERVERINFO", LEADERINFO: "LEADERINFO", ACKEPOCH: "ACKEPOCH",
    INFORMANDACTIVATE: "INFORMANDACTIVATE",
}  # fmt: skip

# Only between servers of this project, and only as the last packet: why the sender hangs up. It has no name above,
# since it is no part of the protocol: both ends do the same without it.
FAREWELL: Final = 100
_MOST_FAREWELL_BYTES: Final = 500

PROTOCOL_VERSION: Final = 0x10000
_OURS: Final = b"REC1"  # at the end of the handshake's data, where Apache's servers ignore it

_HEAD: Final = Struct(">iqi")  # type, zxid, length of the data
_BARE: Final = Struct(">iqii")  # the same and the number of ids: the shortest packet
_un_request: Final = Struct(">qii").unpack_from
_pack_request_packet: Final = Struct(">iqiqii").pack  # a packet's head, and the head of a REQUEST's data
_TIMED: Final = Struct(">qi")  # a session and its timeout
_VALID: Final = Struct(">q?")
_LEARNER_INFO: Final = Struct(">qiq")


class Packet(NamedTuple):
    """One message of the quorum port.

    data: its meaning depends on the type; None without data. For a SNAP: the whole tree.
    ids: the identities of the client that made a REQUEST; None for a request that no client made.
    """

    type: int
    zxid: int
    data: bytes | None = None
    ids: Ids | None = None

    def __repr__(self) -> str:
        size = "no" if self.data is None else str(len(self.data))
        return f"<{packet_name(self.type)} 0x{self.zxid & 0xFFFFFFFFFFFFFFFF:x}, {size} bytes>"


_packet: Final = partial(tuple.__new__, Packet)  # without a look at the number of its fields


class Proposed(Protocol):
    """What a PROPOSAL carries."""

    zxid: int
    payload: bytes


def packet_name(packet_type: int) -> str:
    """The name of this packet type in errors and logs."""
    return PACKET_NAMES.get(packet_type) or f"a packet of type {packet_type}"


def encode_packet(packet_type: int, zxid: int, data: bytes | None = None, ids: Ids | None = None) -> bytes:
    """A packet's bytes. For a SNAP, the caller itself sends the tree and its signature after them."""
    if ids is None:
        if data is None:
            return _BARE.pack(packet_type, zxid, -1, -1)
        return _HEAD.pack(packet_type, zxid, len(data)) + data + NULL
    head = _HEAD.pack(packet_type, zxid, -1 if data is None else len(data))
    return head + (data or b"") + write_vector(ids, _write_id)


def encode_proposals(entries: Iterable[Proposed]) -> bytes:
    """PROPOSALs, one behind the other."""
    pack = _HEAD.pack
    parts: list[bytes] = []
    for entry in entries:
        payload = entry.payload
        parts += (pack(PROPOSAL, entry.zxid, len(payload)), payload, NULL)
    return b"".join(parts)


class PacketReader:
    """Splits a byte stream into packets at a cost linear in its length; the stream may arrive in pieces of any size.

    limit_bytes: the longest data of a packet; limits also all ids of a packet together, and each item of a tree.
    takes_dumps: accept a SNAP; its tree is kept in memory until it is whole, whatever its size.
    """

    __slots__ = ("_chunks", "_dump", "_held", "_last_ids", "_limit_bytes", "_takes_dumps", "_wanted", "_zxid")

    def __init__(self, limit_bytes: int, takes_dumps: bool = True) -> None:
        self._limit_bytes = limit_bytes
        self._takes_dumps = takes_dumps
        self._chunks: list[bytes] = []  # received, not yet split into packets
        self._held = 0  # bytes in them
        self._wanted = _BARE.size  # fewer bytes than this hold no complete packet or item
        self._last_ids: tuple[bytes, Ids] = pack_int(0), ()  # as they came, and decoded
        self._dump: Dump | None = None  # the tree that is arriving
        self._zxid = 0  # of its SNAP

    def feed(self, data: bytes) -> list[Packet]:
        """Add bytes; return the packets now complete. A SNAP is complete once its tree is. Raises WireError."""
        self._chunks.append(data)
        self._held += len(data)
        if self._held < self._wanted:
            return []
        if len(self._chunks) > 1:
            data = b"".join(self._chunks)
        at, size, limit, head = 0, len(data), self._limit_bytes, _HEAD.unpack_from
        packets: list[Packet] = []
        dump = self._dump
        while True:
            if dump is not None:
                at, wanted = dump.take(data, at)
                if wanted:
                    break
                packets.append(Packet(SNAP, self._zxid, dump.body()))
                self._dump = dump = None
                continue
            if size - at < 20:
                wanted = 20
                break
            kind, zxid, length = head(data, at)
            start = end = at + 16
            if length > 0:
                end += length if length <= limit else bounded(length, 0, limit)
            elif length < -1:
                bounded(length, 0, limit)
            after = end + 4
            if size < after:
                wanted = after - at
                break
            ids: Ids | None = None
            if not data.startswith(NULL, end):
                last, ids = self._last_ids
                if data.startswith(last, end):  # most requests have the same ids as the one before
                    after = end + len(last)
                else:
                    after = end_of_pairs(data, after, bounded(un_int(data, end)[0], 0, limit), 0, limit)
                    if size < after:
                        wanted = after - at
                        break
                    ids = tuple(read_vector(data, end, _read_id)[0] or ())
                    self._last_ids = data[end:after], ids
            at = after
            if kind != SNAP:
                packets.append(_packet((kind, zxid, data[start:end] if length >= 0 else None, ids)))
            elif self._takes_dumps:
                self._dump = dump = Dump(limit)
                self._zxid = zxid
            else:
                raise WireError("a SNAP from a server that does not lead")
        self._chunks = [data[at:]] if at < size else []
        self._held, self._wanted = size - at, wanted
        return packets


def _write_id(entry: tuple[bytes, bytes]) -> bytes:
    return write_buffer(entry[0]) + write_buffer(entry[1])


def _read_id(data: bytes, at: int) -> tuple[tuple[bytes, bytes], int]:
    scheme, at = read_string(data, at)
    name, at = read_string(data, at)
    return (scheme, name), at


class LearnerInfo(NamedTuple):
    """The identity of a learner: the data of its FOLLOWERINFO or OBSERVERINFO.

    config_version: of the learner's membership.
    ours: the learner is a server of this project, not Apache's.
    """

    sid: int
    protocol_version: int
    config_version: int
    ours: bool


def encode_learner_info(sid: int, config_version: int = 0, ours: bool = True) -> bytes:
    """The data of FOLLOWERINFO and OBSERVERINFO."""
    return _LEARNER_INFO.pack(sid, PROTOCOL_VERSION, config_version) + (_OURS if ours else b"")


def decode_learner_info(data: bytes | None) -> LearnerInfo:
    """Read FOLLOWERINFO or OBSERVERINFO. Raises WireError for a learner with a handshake older than ZooKeeper 3.5's."""
    if data is None or len(data) < _LEARNER_INFO.size:
        raise WireError("the learner does not speak the handshake of ZooKeeper 3.5")
    sid, protocol_version, config_version = _LEARNER_INFO.unpack_from(data)
    if protocol_version < PROTOCOL_VERSION:
        raise WireError(f"learner {sid} speaks version 0x{protocol_version:x}: expected 0x{PROTOCOL_VERSION:x}")
    return LearnerInfo(sid, protocol_version, config_version, data.startswith(_OURS, _LEARNER_INFO.size))


def encode_leader_info(ours: bool = True, secret: bytes = b"") -> bytes:
    """The data of LEADERINFO. secret: the one behind the passwords of sessions, where our servers share one."""
    return pack_int(PROTOCOL_VERSION) + (_OURS + secret if ours else b"")


def decode_leader_info(data: bytes | None) -> bool:
    """Whether the leader is a server of this project. Raises WireError for a handshake older than ours."""
    data = _at_least(data, 4)
    version = un_int(data, 0)[0]
    if version < PROTOCOL_VERSION:
        raise WireError(f"the leader speaks version 0x{version:x}: expected 0x{PROTOCOL_VERSION:x}")
    return data.startswith(_OURS, 4)


def decode_leader_secret(data: bytes | None) -> bytes:
    """The secret that a LEADERINFO carries; empty if there is none."""
    return data[4 + len(_OURS) :] if data is not None and data.startswith(_OURS, 4) else b""


class RequestWriter:
    """Encodes REQUESTs. Most requests have the same ids as the one before: they are encoded once."""

    __slots__ = ("_encoded", "_ids")

    def __init__(self) -> None:
        self._ids: Ids | None = None
        self._encoded = NULL

    def encode(self, session_id: int, cxid: int, kind: int, body: bytes, ids: Ids | None) -> bytes:
        """A REQUEST. body: the bytes of the client's request behind its header. ids: None if no client made it."""
        if ids is not self._ids:
            self._ids, self._encoded = ids, write_vector(ids, _write_id)
        return _pack_request_packet(REQUEST, -1, 16 + len(body), session_id, cxid, kind) + body + self._encoded


def decode_request(data: bytes | None) -> tuple[int, int, int, bytes]:
    """Session id, cxid, opcode and body. Raises WireError."""
    if data is None or len(data) < 16:
        data = _at_least(data, 16)
    session_id, cxid, kind = _un_request(data)
    return session_id, cxid, kind, data[16:]


def encode_touches(sessions: Iterable[tuple[int, int]]) -> bytes:
    """The data of a learner's PING: (session id, timeout in ms) of each session active since the last PING."""
    pack = _TIMED.pack
    return b"".join([pack(session_id, timeout_ms) for session_id, timeout_ms in sessions])


def decode_touches(data: bytes | None) -> list[tuple[int, int]]:
    """The sessions in a learner's PING. Raises WireError."""
    if data is None or len(data) % _TIMED.size:
        raise WireError(f"a PING with {'no' if data is None else len(data)} bytes of sessions")
    return list(_TIMED.iter_unpack(data))


def encode_revalidate(session_id: int, timeout_ms: int) -> bytes:
    """The data of a learner's REVALIDATE, which asks whether a session is alive."""
    return _TIMED.pack(session_id, timeout_ms)


def decode_revalidate(data: bytes | None) -> tuple[int, int]:
    """Session id and timeout in ms. Raises WireError."""
    session_id, timeout_ms = _TIMED.unpack_from(_at_least(data, _TIMED.size))
    return session_id, timeout_ms


def encode_revalidated(session_id: int, valid: bool) -> bytes:
    """The data of the leader's REVALIDATE: whether the session is alive."""
    return _VALID.pack(session_id, valid)


def decode_revalidated(data: bytes | None) -> tuple[int, bool]:
    """Session id, and whether the session is alive. Raises WireError."""
    session_id, valid = _VALID.unpack_from(_at_least(data, _VALID.size))
    return session_id, valid


def encode_epoch(epoch: int) -> bytes:
    """The data of ACKEPOCH: the learner's current epoch, or -1 for a learner that the leader must not count."""
    return pack_int(epoch)


def decode_epoch(data: bytes | None) -> int:
    """The epoch in ACKEPOCH. Raises WireError."""
    epoch: int = un_int(_at_least(data, 4), 0)[0]
    return epoch


def _at_least(data: bytes | None, size: int) -> bytes:
    if data is None or len(data) < size:
        raise WireError(f"{size} bytes of data expected, got {'none' if data is None else len(data)}")
    return data


def encode_farewell(why: str) -> bytes:
    """A FAREWELL."""
    return encode_packet(FAREWELL, -1, why.encode()[:_MOST_FAREWELL_BYTES])


def decode_farewell(data: bytes | None) -> str:
    """Why the other end hangs up, in one line that is safe to log."""
    text = (data or b"")[:_MOST_FAREWELL_BYTES].decode(errors="replace")
    return "".join(char if char.isprintable() else "?" for char in text)
