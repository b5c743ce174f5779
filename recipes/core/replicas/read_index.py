"""Requests that a leader may answer only once it is sure that it still leads: `sync`s.

Source: Ongaro (2014), section 6.4.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple, Protocol


class _Sync(NamedTuple):
    """zxid: the last one proposed when it was asked for. round: of heartbeats that began no earlier.

    link: of the follower that asks; None: this server asks, with `token`.
    """

    zxid: int
    round: int
    link: int | None
    token: Any


class Deciders(Protocol):
    """Says which servers are enough."""

    def is_quorum(self, sids: Collection[int]) -> bool:
        """Whether these are."""
        ...


class ReadIndex:
    """Keeps each `sync` until everything proposed before it is committed, and a quorum has answered a later heartbeat.

    This costs a round of heartbeats, but no entry. Without it, a leader that has been replaced and does not know it yet
    would answer with outdated data.
    """

    def __init__(self, sid: int, membership: Deciders) -> None:
        self._sid = sid
        self._membership = membership
        self._syncs: deque[_Sync] = deque()

    def __len__(self) -> int:
        """How many are not answered yet."""
        return len(self._syncs)

    def ask(self, zxid: int, round_number: int, link: int | None, token: object) -> None:
        """Take a request. round_number: of heartbeats that are not sent yet."""
        self._syncs.append(_Sync(zxid, round_number, link, token))

    def answer(
        self, committed_zxid: int, rounds: Iterable[tuple[int, int]], reply: Callable[[int | None, object], None]
    ) -> None:
        """Reply to the requests that can be answered, in order.

        rounds: the followers, each with the last round of heartbeats that it has answered.
        """
        syncs = self._syncs
        if not syncs or syncs[0].zxid > committed_zxid:
            return
        answered = list(rounds)
        while syncs and syncs[0].zxid <= committed_zxid:
            first = syncs[0]
            sids = {sid for sid, number in answered if number >= first.round}
            if not self._membership.is_quorum(sids | {self._sid}):
                return
            syncs.popleft()
            reply(first.link, first.token)
