"""What a leader makes of claims in a member's name that no member has proven: later terms, and second connections.

Whoever reaches the ports between servers can say that it is a member, where these have no TLS. Such a claim is stored
nowhere, ends no more than one leadership in a long time, and takes no place of a member that answers.
"""

from typing import Final, NamedTuple

from recipes.core.giving_way import GivingWay
from recipes.core.replicas.progress import Progress
from recipes.core.replicas.wire import Hello

# The latest term that a server may say it is in, and the latest in which one stands. 500 million elections lie between
# the two: so from whatever terms are stored the servers can come together in a later one.
MOST_CLAIMED: Final = 1 << 30
MOST_TERM: Final = MOST_CLAIMED + (1 << 29)

_MOST_AHEAD: Final = 1 << 16  # elections that came to nothing leave a few


class _Claim(NamedTuple):
    term: int
    leads_in: int  # the term of the leader that heard it
    beat: int  # of that leader, in which it was heard


class LateTerms:
    """The servers for which this one gives way as a leader, since they are in a later term and cannot follow it.

    For each once in a while, whatever it says. It has to answer a leader with the same term in two of its beats.
    """

    __slots__ = ("_claims", "_giving_way")

    def __init__(self, tick_ms: int) -> None:
        self._giving_way = GivingWay(tick_ms)
        self._claims: dict[int, _Claim] = {}  # by sid

    def gives_way(self, sid: int, term: int, leads_in: int, beat: int, now_ms: int) -> bool:
        """The server says that it is in this term. Whether the leader of the term `leads_in` gives way for it now."""
        if not self._giving_way.may(sid, now_ms):
            return False
        before = self._claims.get(sid)
        if before is None or (before.term, before.leads_in) != (term, leads_in):
            self._claims[sid] = _Claim(term, leads_in, beat)
            return False
        if before.beat == beat:
            return False
        del self._claims[sid]
        self._giving_way.gave_way(sid, now_ms)
        return True


def is_far(term: int, own_term: int) -> bool:
    """Whether a term is so far ahead of this server's that it is rarely true: no leader gives way for it."""
    return term > own_term + _MOST_AHEAD


class _Newcomer(NamedTuple):
    progress: Progress
    hello: Hello
    since_ms: int
    round: int


class Newcomers:
    """The second connection of a follower waits here, while its first one may still be alive.

    A server that has connected anew has closed its first connection, or has restarted: then the first one breaks as
    soon as something is sent over it. If a heartbeat is answered there instead, the second one is a stranger's.
    """

    __slots__ = ("_by_sid", "_patience_ms")

    def __init__(self, tick_ms: int) -> None:
        self._patience_ms = tick_ms
        self._by_sid: dict[int, _Newcomer] = {}

    def wait(self, progress: Progress, hello: Hello, now_ms: int, round_number: int) -> None:
        """A server that has a connection has introduced itself on another one. round_number: of the next heartbeats."""
        before = self._by_sid.pop(progress.sid, None)
        self._by_sid[progress.sid] = _Newcomer(progress, hello, now_ms, round_number)
        if before is not None and before.progress is not progress:
            before.progress.link.close("it has made a new connection")

    def gone(self, progress: Progress) -> None:
        """A connection is closed."""
        newcomer = self._by_sid.get(progress.sid)
        if newcomer is not None and newcomer.progress is progress:
            del self._by_sid[progress.sid]

    def next(self, sid: int) -> tuple[Progress, Hello] | None:
        """The first connection of `sid` is closed: the one that takes its place."""
        newcomer = self._by_sid.pop(sid, None)
        return None if newcomer is None else (newcomer.progress, newcomer.hello)

    def settle(self, first_of: dict[int, Progress], now_ms: int) -> None:
        """Close the second connection where a heartbeat was answered on the first, the first one where none was."""
        for sid, newcomer in list(self._by_sid.items()):
            first = first_of[sid]
            if first.round >= newcomer.round:
                newcomer.progress.link.close(f"server {sid} has another connection, which is alive")
            elif now_ms - newcomer.since_ms >= self._patience_ms:
                first.link.close(f"it was silent for {self._patience_ms} ms, and has made a new connection")
