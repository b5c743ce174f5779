"""What the clients of a run saw, and the verdict on it: against the logs, against time, against each other."""

from __future__ import annotations

import time
from collections import Counter

from recipes.core.errors import InvariantBroken
from recipes.core.sim.histories import Call, Judge
from recipes.core.sim.reference import Reference
from tests.chaos.cluster import LogCopies


class Answer:
    """A reply: `call` knows the request, the code and the zxid."""

    __slots__ = ("call", "data", "names", "path", "stat")

    def __init__(self, call: Call, path: bytes, stat: bytes | None, data: bytes | None, names: list[bytes]) -> None:
        self.call = call
        self.path = path
        self.stat = stat
        self.data = data
        self.names = names


class History:
    """Everything that was answered, in the order in which it was.

    newest_seen: the highest zxid in any reply so far; all clients of a run are in one process, so that it is exact.
    counts: operations by outcome. violations: what was seen to be wrong at once.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.newest_seen = 0
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self.last_fence = 0
        self.last_ok_at = time.monotonic()
        self.longest_gap_s = 0.0  # between two acknowledged writes, since it was last set to 0

    def answered(self, answer: Answer, is_write: bool) -> None:
        """A reply has come."""
        self.answers.append(answer)
        self.newest_seen = max(self.newest_seen, answer.call.zxid)
        self.counts["ok" if answer.call.error == 0 else "refused"] += 1
        if is_write:
            now = time.monotonic()
            self.longest_gap_s = max(self.longest_gap_s, now - self.last_ok_at)
            self.last_ok_at = now

    def gap_s(self) -> float:
        """The longest time without an acknowledged write, the one that may last still included."""
        return max(self.longest_gap_s, time.monotonic() - self.last_ok_at)

    def granted(self, fence: int) -> None:
        """Somebody holds the lock."""
        self.counts["granted"] += 1
        if fence <= self.last_fence:
            self.violations.append(f"R1 fence 0x{fence:x} was granted after 0x{self.last_fence:x}")
        self.last_fence = fence

    def judge(self, logs: LogCopies, last_zxid: int) -> Reference:
        """Compare every answer with what was committed; the committed history.

        last_zxid: where all servers ended. Raises InvariantBroken, or LookupError when the logs do not tell.
        """
        reference = Reference()
        for payload in logs.history(last_zxid):
            reference.apply(payload, 0)
        judge = Judge(reference)
        for answer in self.answers:
            if answer.call.zxid > last_zxid:
                raise InvariantBroken(f"C1 0x{answer.call.zxid:x} was shown, and the store ends at 0x{last_zxid:x}")
            judge.judge(answer.call, answer.path, answer.stat, answer.data, answer.names)
        return reference
