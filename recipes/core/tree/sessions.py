"""Sessions: their ids, passwords and expiry.

Sessions expire in buckets of one tick, rounded up: a silent session ends between its timeout and its timeout plus a
tick.
Source: SessionTrackerImpl.java, ExpiryQueue.java, ZooKeeperServer.java.
"""

import hmac
from hashlib import sha256
from itertools import islice
from typing import Final

_MASK48: Final = (1 << 48) - 1
_MULTIPLIER: Final = 0x5DEECE66D  # of java.util.Random, which makes the session passwords
_SUPER_SECRET: Final = 0xB3415C00


class TrackedSession:
    """A live session: its timeout, when it expires, and the link over which its client is connected."""

    __slots__ = ("closing", "expires_ms", "link", "timeout_ms")

    def __init__(self) -> None:
        self.timeout_ms: int = 0
        self.expires_ms: int = 0
        self.link: int | None = None
        self.closing: bool = False


class SessionTracker:
    """Every live session, and when it expires unless it is heard from.

    tick_ms: the width of a bucket.
    sessions: by their ids.
    """

    __slots__ = ("_buckets", "_tick_ms", "sessions")

    def __init__(self, tick_ms: int) -> None:
        self._tick_ms = tick_ms
        self.sessions: dict[int, TrackedSession] = {}
        self._buckets: dict[int, dict[int, None]] = {}  # end in ms -> sessions

    def __contains__(self, session_id: object) -> bool:
        return session_id in self.sessions

    def __len__(self) -> int:
        return len(self.sessions)

    def add(self, session_id: int, timeout_ms: int, now_ms: int, link: int | None = None) -> None:
        """Add a session, or give a known session another timeout; either way it has been heard from.

        link: of the learner to which its client is connected; 0: to this server; None: not
        known yet, the link over which its next request comes.
        """
        session = self.sessions.setdefault(session_id, TrackedSession())
        session.timeout_ms = timeout_ms
        session.link = link
        self.touch(session_id, now_ms)

    def touch(self, session_id: int, now_ms: int) -> None:
        """The session has been heard from."""
        session = self.sessions.get(session_id)
        if session is None or session.closing:
            return
        tick_ms = self._tick_ms
        expires_ms = (now_ms + session.timeout_ms) // tick_ms * tick_ms + tick_ms
        if expires_ms != session.expires_ms:
            self._unlink(session_id, session)
            session.expires_ms = expires_ms
            self._buckets.setdefault(expires_ms, {})[session_id] = None

    def has_moved(self, session_id: int, link: int | None) -> bool:
        """Whether the client of a live session is now connected elsewhere than over `link` (None: no client asks)."""
        if link is None:
            return False
        session = self.sessions[session_id]
        if session.link is None:
            session.link = link
        return session.link != link

    def mark_closing(self, session_id: int) -> None:
        """The txn that closes the session is under way: it can do nothing more, and cannot be resumed."""
        session = self.sessions.get(session_id)
        if session is not None:
            session.closing = True
            self._unlink(session_id, session)

    def is_closing(self, session_id: int) -> bool:
        """Whether the txn that closes the session is under way."""
        session = self.sessions.get(session_id)
        return session is not None and session.closing

    def remove(self, session_id: int) -> None:
        """The session is over."""
        session = self.sessions.pop(session_id, None)
        if session is not None:
            self._unlink(session_id, session)

    def expired(self, now_ms: int, most: int = 1 << 30) -> list[int]:
        """Sessions whose time is up, at most so many, each reported once, in order of expiry."""
        found: list[int] = []
        for end in sorted(end for end in self._buckets if end <= now_ms):
            bucket = self._buckets[end]
            for session_id in list(islice(bucket, most - len(found))):
                found.append(session_id)
                del bucket[session_id]
            if bucket:
                break
            del self._buckets[end]
        return found

    def overdue(self, session_ids: list[int]) -> None:
        """These are to be reported once more: there was no time to end them."""
        for session_id in session_ids:
            self._buckets.setdefault(self.sessions[session_id].expires_ms, {})[session_id] = None

    def extend(self, by_ms: int) -> None:
        """Give every session so much more time, rounded up to ticks: this server could hear from nobody meanwhile."""
        by_ms = -(-by_ms // self._tick_ms) * self._tick_ms
        self._buckets = {end + by_ms: bucket for end, bucket in self._buckets.items()}
        for session in self.sessions.values():
            session.expires_ms += by_ms

    def rearm(self, now_ms: int) -> None:
        """Give every session its full timeout again."""
        for session_id in self.sessions:
            self.touch(session_id, now_ms)

    def timeouts(self) -> dict[int, int]:
        """Timeout in ms of every session."""
        return {session_id: session.timeout_ms for session_id, session in self.sessions.items()}

    def buckets(self) -> list[tuple[int, list[int]]]:
        """End in ms and sessions of every bucket, in order."""
        return [(end, list(self._buckets[end])) for end in sorted(self._buckets)]

    def _unlink(self, session_id: int, session: TrackedSession) -> None:
        bucket = self._buckets.get(session.expires_ms)
        if bucket is not None:
            bucket.pop(session_id, None)
            if not bucket:
                del self._buckets[session.expires_ms]


class SessionIds:
    """New session ids: the server in the top byte, then 40 bits of the clock, then a count.

    wall_ms: the wall clock, since ids must not repeat after a restart.
    """

    __slots__ = ("_next",)

    def __init__(self, wall_ms: int, server_id: int) -> None:
        self._next = ((wall_ms << 24) & ((1 << 64) - 1)) >> 8 | (server_id & 0xFF) << 56

    def next(self) -> int:
        """An id, as a signed 64-bit number."""
        if self._next == 1 << 63:  # this id marks the owner of a container
            self._next += 1
        session_id = self._next
        self._next += 1
        return session_id - (1 << 64) if session_id >= 1 << 63 else session_id


def session_password(session_id: int, secret: bytes | None = None) -> bytes:
    """The 16 bytes with which a client proves that a session is its own.

    Without a secret they follow from the id by ZooKeeper's rule, so that a session can move between servers of this
    project and Apache's; with a secret they are a keyed hash.
    """
    if secret is not None:
        return hmac.digest(secret, (session_id & ((1 << 64) - 1)).to_bytes(8, "big"), sha256)[:16]
    state = (session_id ^ _SUPER_SECRET ^ _MULTIPLIER) & _MASK48
    parts = []
    for _ in range(4):
        state = (state * _MULTIPLIER + 0xB) & _MASK48
        parts.append((state >> 16 & 0xFFFFFFFF).to_bytes(4, "little"))
    return b"".join(parts)


def password_matches(session_id: int, password: bytes, secret: bytes | None = None) -> bool:
    """Whether `password` is the session's. The session 0 has none."""
    return session_id != 0 and hmac.compare_digest(session_password(session_id, secret), password)
