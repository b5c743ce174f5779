"""The messages between a leader and a follower, on the quorum port: frames of their own.

The first frame in each direction is a Hello. Apache's servers and ZAB's send other bytes, which are no frame of this
kind: the connection is closed with a sentence for the log.
"""

from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple

from recipes.core.errors import WireError
from recipes.core.jute.codec import read_string, read_vector, write_buffer, write_vector
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import Ids
from recipes.core.jute.txns import decode_txn
from recipes.core.raft.ballots import VERSION
from recipes.core.replication import Entry

HELLO: Final = 1
REFUSED: Final = 2
APPEND: Final = 3
APPENDED: Final = 4
CONFLICT: Final = 5
SNAPSHOT: Final = 6
PART: Final = 7
END: Final = 8
FORWARD: Final = 9
SYNCED: Final = 10
REVALIDATE: Final = 11
REVALIDATED: Final = 12

NAMES: Final = {
    HELLO: "HELLO", REFUSED: "REFUSED", APPEND: "APPEND", APPENDED: "APPENDED", CONFLICT: "CONFLICT",
    SNAPSHOT: "SNAPSHOT", PART: "PART", END: "END", FORWARD: "FORWARD", SYNCED: "SYNCED", REVALIDATE: "REVALIDATE",
    REVALIDATED: "REVALIDATED",
}  # fmt: skip

MAGIC: Final = b"recipes/raft"
BATCH_BYTES: Final = 256 * 1024  # entries of one APPEND, and one PART, have about so many at most
_SPARE_BYTES: Final = BATCH_BYTES + 64 * 1024

_HELLO: Final = Struct(">B12siqqqq")
_APPEND: Final = Struct(">Bqqqqi")
_APPENDED: Final = Struct(">Bqqqq")
_CONFLICT: Final = Struct(">Bqqq")
_SNAPSHOT: Final = Struct(">Bqq")
_END: Final = Struct(">Bq")
_FORWARD: Final = Struct(">Bqii")
_TIMED: Final = Struct(">qi")
_REVALIDATE: Final = Struct(">Bqi")
_REVALIDATED: Final = Struct(">Bq?")
_LENGTH: Final = Struct(">i")


class Hello(NamedTuple):
    """The first message in each direction.

    ensemble: see ensemble_id. last_zxid: where the sender's log ends; -1 if it cannot be relied on.
    """

    version: int
    ensemble: int
    sid: int
    term: int
    last_zxid: int


class Refused(NamedTuple):
    """In place of a Hello: why the leader does not take this follower, for the follower's log."""

    why: str


class Append(NamedTuple):
    """AppendEntries of the paper.

    prev_zxid: of the entry before the first of these; it names the index and the term. commit_zxid: everything up to
    here is committed. round: of the leader's last round of heartbeats; every APPENDED repeats the highest one seen.
    """

    term: int
    prev_zxid: int
    commit_zxid: int
    round: int
    entries: list[Entry]


class Appended(NamedTuple):
    """The follower's log is the leader's up to `matched_zxid`, and its disk has it up to `durable_zxid`.

    touches: sessions heard from since the last one, with their timeouts in ms.
    """

    term: int
    matched_zxid: int
    durable_zxid: int
    round: int
    touches: list[tuple[int, int]]


class Conflict(NamedTuple):
    """The follower's log has no entry `prev_zxid`. hint_zxid: the last one that it has before that."""

    term: int
    prev_zxid: int
    hint_zxid: int


class Snapshot(NamedTuple):
    """InstallSnapshot of the paper: Parts with the serialised tree follow, then an End."""

    term: int
    zxid: int


class Part(NamedTuple):
    """Bytes of the tree."""

    data: bytes


class End(NamedTuple):
    """The tree is complete. shown_zxid: the tree may show changes up to here; it grew while it was sent."""

    shown_zxid: int


class Forward(NamedTuple):
    """A client's request, for the leader to prepare."""

    session_id: int
    cxid: int
    op: int
    body: bytes
    ids: Ids


class SyncAnswered(NamedTuple):
    """The follower's oldest `sync` is answered: everything committed before it has been sent."""


class AskSession(NamedTuple):
    """Whether a session lives whose client has connected to the follower."""

    session_id: int
    timeout_ms: int


class SessionAnswer(NamedTuple):
    """The answer to an AskSession."""

    session_id: int
    valid: bool


Message = (
    Hello
    | Refused
    | Append
    | Appended
    | Conflict
    | Snapshot
    | Part
    | End
    | Forward
    | SyncAnswered
    | AskSession
    | SessionAnswer
)

TYPES: Final[dict[type[object], int]] = {
    Hello: HELLO, Refused: REFUSED, Append: APPEND, Appended: APPENDED, Conflict: CONFLICT, Snapshot: SNAPSHOT,
    Part: PART, End: END, Forward: FORWARD, SyncAnswered: SYNCED, AskSession: REVALIDATE, SessionAnswer: REVALIDATED,
}  # fmt: skip


def message_name(kind: int) -> str:
    """The name of a type of message, in errors and logs."""
    return NAMES.get(kind) or f"a message of type {kind}"


def encode_hello(ensemble: int, sid: int, term: int, last_zxid: int) -> bytes:
    """A HELLO in its frame."""
    return frame(_HELLO.pack(HELLO, MAGIC, VERSION, ensemble, sid, term, last_zxid))


def encode_refused(why: str) -> bytes:
    """A REFUSED in its frame."""
    return frame(bytes((REFUSED,)) + why.encode())


def encode_append(term: int, prev_zxid: int, commit_zxid: int, round_number: int, entries: Sequence[Entry]) -> bytes:
    """An APPEND in its frame."""
    parts = [_APPEND.pack(APPEND, term, prev_zxid, commit_zxid, round_number, len(entries))]
    for entry in entries:
        parts.append(_LENGTH.pack(len(entry.payload)))
        parts.append(entry.payload)
    return frame(b"".join(parts))


def encode_appended(
    term: int, matched_zxid: int, durable_zxid: int, round_number: int, touches: Sequence[tuple[int, int]] = ()
) -> bytes:
    """An APPENDED in its frame."""
    head = _APPENDED.pack(APPENDED, term, matched_zxid, durable_zxid, round_number)
    return frame(head + b"".join([_TIMED.pack(*touch) for touch in touches]))


def encode_conflict(term: int, prev_zxid: int, hint_zxid: int) -> bytes:
    """A CONFLICT in its frame."""
    return frame(_CONFLICT.pack(CONFLICT, term, prev_zxid, hint_zxid))


def encode_snapshot(term: int, zxid: int) -> bytes:
    """The SNAPSHOT that announces a tree, in its frame."""
    return frame(_SNAPSHOT.pack(SNAPSHOT, term, zxid))


def encode_parts(chunks: Iterator[bytes], applied: Callable[[], int]) -> Iterator[bytes]:
    """A tree's bytes as PARTs and an END, each in its frame; one item per chunk.

    applied: gives the last zxid that the tree has, at the time when all of it is taken.
    """
    for chunk in chunks:
        pieces = [chunk[at : at + BATCH_BYTES] for at in range(0, len(chunk), BATCH_BYTES)]
        yield b"".join([frame(bytes((PART,)) + piece) for piece in pieces])
    yield frame(_END.pack(END, applied()))


def encode_forward(session_id: int, cxid: int, op: int, body: bytes, ids: Ids) -> bytes:
    """A FORWARD in its frame."""
    return frame(_FORWARD.pack(FORWARD, session_id, cxid, op) + write_vector(ids, _write_id) + body)


def encode_synced() -> bytes:
    """A SYNCED in its frame."""
    return frame(bytes((SYNCED,)))


def encode_revalidate(session_id: int, timeout_ms: int) -> bytes:
    """A REVALIDATE in its frame."""
    return frame(_REVALIDATE.pack(REVALIDATE, session_id, timeout_ms))


def encode_revalidated(session_id: int, valid: bool) -> bytes:
    """A REVALIDATED in its frame."""
    return frame(_REVALIDATED.pack(REVALIDATED, session_id, valid))


class MessageReader:
    """Splits a stream of bytes into messages.

    max_txn_bytes: the longest txn that another server may send.
    """

    __slots__ = ("_begun", "_frames")

    def __init__(self, max_txn_bytes: int) -> None:
        self._frames = FrameReader(max_txn_bytes + _SPARE_BYTES)
        self._begun: bytes | None = b""  # of the first frame, until it is known to be one of raft's

    def feed(self, data: bytes) -> list[Message]:
        """Add bytes; return the messages that are complete. Raises WireError for bytes that cannot be messages."""
        if self._begun is not None:
            self._begun += data
            if len(self._begun) < 5:
                return []
            first = self._begun[4]
            if first not in (HELLO, REFUSED) or (first == HELLO and not MAGIC.startswith(self._begun[5:17])):
                raise WireError("it does not speak raft: it may run zab, as Apache's servers do")
            data, self._begun = self._begun, None
        return [decode(payload) for payload in self._frames.feed(data)]


def decode(payload: bytes) -> Message:
    """The message in a frame. Raises WireError."""
    if not payload:
        raise WireError("an empty frame")
    read = _READERS.get(payload[0])
    if read is None:
        raise WireError(f"{message_name(payload[0])}: expected one of 1 to {len(NAMES)}")
    try:
        return read(payload)
    except (StructError, UnicodeError) as error:
        raise WireError(f"{message_name(payload[0])}: {error}") from None


def _read_hello(payload: bytes) -> Hello:
    _, magic, version, ensemble, sid, term, last_zxid = _HELLO.unpack_from(payload)
    if magic != MAGIC:
        raise WireError("it does not speak raft: it may run zab, as Apache's servers do")
    return Hello(version, ensemble, sid, term, last_zxid)


def _read_refused(payload: bytes) -> Refused:
    return Refused(payload[1:].decode())


def _read_append(payload: bytes) -> Append:
    _, term, prev_zxid, commit_zxid, round_number, count = _APPEND.unpack_from(payload)
    entries = []
    at = _APPEND.size
    for _ in range(count):
        length = _LENGTH.unpack_from(payload, at)[0]
        start, at = at + 4, at + 4 + length
        if length < 0 or at > len(payload):
            raise WireError(f"an entry of {length} bytes in a frame of {len(payload)}")
        data = payload[start:at]
        txn, digest = decode_txn(data)
        entries.append(Entry(txn[2], data, txn, claimed=digest))
    return Append(term, prev_zxid, commit_zxid, round_number, entries)


def _read_appended(payload: bytes) -> Appended:
    _, term, matched_zxid, durable_zxid, round_number = _APPENDED.unpack_from(payload)
    return Appended(term, matched_zxid, durable_zxid, round_number, list(_TIMED.iter_unpack(payload[_APPENDED.size :])))


def _read_conflict(payload: bytes) -> Conflict:
    return Conflict(*_CONFLICT.unpack_from(payload)[1:])


def _read_snapshot(payload: bytes) -> Snapshot:
    return Snapshot(*_SNAPSHOT.unpack_from(payload)[1:])


def _read_part(payload: bytes) -> Part:
    return Part(payload[1:])


def _read_end(payload: bytes) -> End:
    return End(*_END.unpack_from(payload)[1:])


def _read_forward(payload: bytes) -> Forward:
    _, session_id, cxid, op = _FORWARD.unpack_from(payload)
    ids, at = read_vector(payload, _FORWARD.size, _read_id)
    return Forward(session_id, cxid, op, payload[at:], tuple(ids or ()))


def _read_synced(payload: bytes) -> SyncAnswered:
    return SyncAnswered()


def _read_revalidate(payload: bytes) -> AskSession:
    return AskSession(*_REVALIDATE.unpack_from(payload)[1:])


def _read_revalidated(payload: bytes) -> SessionAnswer:
    return SessionAnswer(*_REVALIDATED.unpack_from(payload)[1:])


_READERS: dict[int, Callable[[bytes], Message]] = {
    HELLO: _read_hello, REFUSED: _read_refused, APPEND: _read_append, APPENDED: _read_appended,
    CONFLICT: _read_conflict, SNAPSHOT: _read_snapshot, PART: _read_part, END: _read_end, FORWARD: _read_forward,
    SYNCED: _read_synced, REVALIDATE: _read_revalidate, REVALIDATED: _read_revalidated,
}  # fmt: skip


def _write_id(pair: tuple[bytes, bytes]) -> bytes:
    return write_buffer(pair[0]) + write_buffer(pair[1])


def _read_id(data: bytes, at: int) -> tuple[tuple[bytes, bytes], int]:
    scheme, at = read_string(data, at)
    name, at = read_string(data, at)
    return (scheme, name), at
