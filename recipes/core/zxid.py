"""A zxid numbers a txn: the epoch of the leader that made it in the upper 32 bits, a counter from 1 on in the lower.

No txn has counter 0: it stands for the state that an epoch begins with, for example in NEWLEADER.
Source: ZxidUtils.java; Junqueira, Reed and Serafini, Zab (DSN 2011), section III.
"""

from typing import Final

LAST_COUNTER: Final = 0xFFFFFFFE  # no leader proposes 0xffffffff: the next epoch starts again at 1
COUNTER_MASK: Final = 0xFFFFFFFF
_MOST_SKIPPED: Final = 16  # a larger gap is not of failed requests: its txns are in a leader's snapshot


def epoch_of(zxid: int) -> int:
    """The upper half."""
    return zxid >> 32


def counter_of(zxid: int) -> int:
    """The lower half."""
    return zxid & COUNTER_MASK


def start_of(epoch: int) -> int:
    """The zxid before the first txn of an epoch."""
    return epoch << 32


def next_zxid(zxid: int) -> int:
    """The zxid of the entry behind `zxid` in the log; at the end of an epoch, the first one of the next epoch."""
    zxid += 1
    return zxid if zxid & COUNTER_MASK else zxid + 1


def follows(before_zxid: int, zxid: int) -> bool:
    """Whether a log may have `zxid` right behind `before_zxid`: the next one, or the first of a later epoch."""
    return zxid == next_zxid(before_zxid) or (zxid & COUNTER_MASK == 1 and zxid >> 32 > before_zxid >> 32)


def skipped(before_zxid: int, zxid: int) -> range:
    """The zxids that a ZooKeeper leader left unused between two entries; none where they are too many.

    Its leader assigns a zxid before it parses a multi: one that cannot be parsed leaves a hole.
    """
    expected = next_zxid(before_zxid) if zxid >> 32 == before_zxid >> 32 else (zxid & ~COUNTER_MASK) + 1
    return range(expected, zxid) if before_zxid < expected < zxid <= expected + _MOST_SKIPPED else range(0)
