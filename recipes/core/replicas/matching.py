"""Log matching: where a follower's log agrees with its leader's, and what of it must go.

A zxid names an entry's term and its place in that term, and only the leader of a term makes its entries. So two logs
that both have a zxid are the same up to it, and one zxid says what (prevLogIndex, prevLogTerm) says in the paper.
Source: Ongaro and Ousterhout, In Search of an Understandable Consensus Algorithm (2014), section 5.3.
"""

from collections.abc import Sequence
from typing import NamedTuple

from recipes.core.errors import WireError
from recipes.core.history import History
from recipes.core.replication import Entry
from recipes.core.zxid import follows


def matched(history: History, committed_zxid: int, prev_zxid: int) -> int | None:
    """Up to where the log is known to be the leader's, which has `prev_zxid`; None where that entry is not here.

    Every leader has what is committed. So a log that is committed beyond `prev_zxid` is the leader's up to there.
    """
    if prev_zxid <= committed_zxid:
        return committed_zxid
    return prev_zxid if history.holds(prev_zxid) else None


class LogChange(NamedTuple):
    """What an APPEND does to a log. cut_zxid: nothing behind it stays; None: nothing goes. entries: then follow."""

    cut_zxid: int | None
    entries: Sequence[Entry]


def change(history: History, matched_zxid: int, entries: Sequence[Entry]) -> LogChange:
    """What to do with a leader's entries behind `matched_zxid`.

    Entries that are here already stay, and everything behind them: the APPEND may be older than those. Only an entry
    that stands where the leader has another one goes, with all that follow it. Raises WireError for entries with a gap.
    """
    if entries and entries[0].zxid <= matched_zxid:
        entries = [entry for entry in entries if entry.zxid > matched_zxid]
    at = matched_zxid
    for entry in entries:
        if not follows(at, entry.zxid):
            raise WireError(f"entry 0x{entry.zxid:x} behind 0x{at:x}")
        at = entry.zxid
    if matched_zxid == history.last_zxid or not entries:
        return LogChange(None, entries)
    at = matched_zxid
    own = history.behind(matched_zxid)
    for number, entry in enumerate(entries):
        if number == len(own):
            return LogChange(None, entries[number:])
        if own[number].zxid != entry.zxid:
            return LogChange(at, entries[number:])
        at = entry.zxid
    return LogChange(None, ())


def hint(history: History, prev_zxid: int) -> int:
    """The last entry of the log before `prev_zxid`, which the log does not have."""
    found = history.floor(prev_zxid)
    return history.base_zxid if found is None else found


def next_probe(history: History, prev_zxid: int, hint_zxid: int, *, by_term: bool) -> int | None:
    """The leader's next guess, after a follower has said that it does not have `prev_zxid`; None: send the tree.

    by_term: skip what the hint rules out, so that there are no more guesses than terms in the conflict. If not, the
    guess is the entry before, as in the paper: one guess per entry.
    """
    return history.floor(hint_zxid) if by_term else history.floor(prev_zxid - 1)
