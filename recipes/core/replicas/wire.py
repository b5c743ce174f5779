"""The messages between a leader and the servers that follow it, on the quorum port: frames of their own.

Raft, Multi-Paxos and primary-backup share them, each under names of its own: its Dialect. The first frame in each
direction is a Hello, which names the protocol. Apache's servers and ZAB's send other bytes, which are no frame of this
kind: the connection is closed with a sentence for the log.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from struct import Struct
from struct import error as StructError
from typing import Any, Final, NamedTuple, TypeAlias

from recipes.core.errors import WireError
from recipes.core.jute.codec import read_string, read_vector, write_buffer, write_vector
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.records import Ids
from recipes.core.jute.txns import decode_txn
from recipes.core.replication import Entry

VERSION: Final = 1

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


Message: TypeAlias = Any  # of a class in `Dialect.types`

TYPES: Final[dict[type[object], int]] = {
    Hello: HELLO, Refused: REFUSED, Append: APPEND, Appended: APPENDED, Conflict: CONFLICT, Snapshot: SNAPSHOT,
    Part: PART, End: END, Forward: FORWARD, SyncAnswered: SYNCED, AskSession: REVALIDATE, SessionAnswer: REVALIDATED,
}  # fmt: skip


Reader = Callable[[bytes], Any]


def write_entries(entries: Sequence[Entry]) -> bytes:
    """The entries as a message carries them."""
    parts = []
    for entry in entries:
        parts.append(_LENGTH.pack(len(entry.payload)))
        parts.append(entry.payload)
    return b"".join(parts)


def read_entries(payload: bytes, at: int, count: int) -> list[Entry]:
    """So many entries from `at` on. Raises WireError."""
    entries = []
    for _ in range(count):
        length = _LENGTH.unpack_from(payload, at)[0]
        start, at = at + 4, at + 4 + length
        if length < 0 or at > len(payload):
            raise WireError(f"an entry of {length} bytes in a frame of {len(payload)}")
        data = payload[start:at]
        txn, digest = decode_txn(data)
        entries.append(Entry(txn[2], data, txn, claimed=digest))
    return entries


def batches(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The entries in parts that fit into one frame each."""
    found: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        size += len(entry.payload) + 4
        if size > BATCH_BYTES and found[-1]:
            found.append([])
            size = len(entry.payload) + 4
        found[-1].append(entry)
    return found


class Dialect:
    """The messages of one protocol.

    protocol: its name. magic: 12 bytes at the start of a HELLO. names: of the types that it has. own: the types that
    it alone has: class of the message -> its number, and a function that decodes it. first: the types with which a
    connection may begin, in either direction.
    """

    __slots__ = ("_first", "_readers", "magic", "names", "protocol", "types")

    def __init__(
        self,
        protocol: str,
        magic: bytes,
        names: Mapping[int, str] = NAMES,
        own: Mapping[type[object], tuple[int, Reader]] | None = None,
        first: Collection[int] = (HELLO, REFUSED),
    ) -> None:
        self.protocol: str = protocol
        self.magic: bytes = magic
        self.names: Mapping[int, str] = names
        self._first = first
        more = own or {}
        self.types: dict[type[object], int] = TYPES | {kind: number for kind, (number, _) in more.items()}
        readers = _READERS | dict(more.values())
        self._readers: dict[int, Reader] = {number: readers[number] for number in names}

    def message_name(self, kind: int) -> str:
        """The name of a type of message, in errors and logs."""
        return self.names.get(kind) or f"a message of type {kind}"

    def name_of(self, message: type[object]) -> str:
        """The name of a class of messages."""
        return self.message_name(self.types[message])

    def encode_hello(self, ensemble: int, sid: int, term: int, last_zxid: int) -> bytes:
        """A HELLO in its frame."""
        return frame(_HELLO.pack(HELLO, self.magic, VERSION, ensemble, sid, term, last_zxid))

    def decode(self, payload: bytes) -> Any:
        """The message in a frame. Raises WireError."""
        if not payload:
            raise WireError("an empty frame")
        kind = payload[0]
        read = self._readers.get(kind)
        if read is None:
            raise WireError(f"{self.message_name(kind)}: expected one of 1 to {max(self.names)}")
        if kind == HELLO and payload[1:13] != self.magic[: len(payload) - 1]:
            raise WireError(self._foreign())
        try:
            return read(payload)
        except (StructError, UnicodeError) as error:
            raise WireError(f"{self.message_name(kind)}: {error}") from None

    def check_begun(self, begun: bytes) -> None:
        """Raises WireError if a connection that begins with these bytes, five or more, is of another protocol."""
        first = begun[4]
        if first not in self._first or (first == HELLO and not self.magic.startswith(begun[5:17])):
            raise WireError(self._foreign())

    def _foreign(self) -> str:
        return f"it does not speak {self.protocol}: it may run zab, as Apache's servers do"


def encode_refused(why: str) -> bytes:
    """A REFUSED in its frame."""
    return frame(bytes((REFUSED,)) + why.encode())


def encode_append(term: int, prev_zxid: int, commit_zxid: int, round_number: int, entries: Sequence[Entry]) -> bytes:
    """An APPEND in its frame."""
    return frame(
        _APPEND.pack(APPEND, term, prev_zxid, commit_zxid, round_number, len(entries)) + write_entries(entries)
    )


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

    __slots__ = ("_begun", "_dialect", "_frames")

    def __init__(self, dialect: Dialect, max_txn_bytes: int) -> None:
        self._dialect = dialect
        self._frames = FrameReader(max_txn_bytes + _SPARE_BYTES)
        self._begun: bytes | None = b""  # of the first frame, until it is known to be of this protocol

    def feed(self, data: bytes) -> list[Any]:
        """Add bytes; return the messages that are complete. Raises WireError for bytes that cannot be messages."""
        if self._begun is not None:
            self._begun += data
            if len(self._begun) < 5:
                return []
            self._dialect.check_begun(self._begun)
            data, self._begun = self._begun, None
        return [self._dialect.decode(payload) for payload in self._frames.feed(data)]


def _read_hello(payload: bytes) -> Hello:
    _, _, version, ensemble, sid, term, last_zxid = _HELLO.unpack_from(payload)
    return Hello(version, ensemble, sid, term, last_zxid)


def _read_refused(payload: bytes) -> Refused:
    return Refused(payload[1:].decode())


def _read_append(payload: bytes) -> Append:
    _, term, prev_zxid, commit_zxid, round_number, count = _APPEND.unpack_from(payload)
    return Append(term, prev_zxid, commit_zxid, round_number, read_entries(payload, _APPEND.size, count))


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


_READERS: Final[dict[int, Reader]] = {
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
