"""The vote that a server must not forget, in a cell beside the term.

raftVote is "TERM SID": the candidate that the server has voted for in that term, the last one in which it voted.
Source: Ongaro, Consensus: Bridging Theory and Practice (2014), figure 3.1.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from recipes.core.errors import DiskError
from recipes.core.replicas.terms import TERM, stored_term, term_cell
from recipes.core.replication import Cell
from recipes.core.zxid import epoch_of

VOTE: Final = "raftVote"
NOBODY: Final = -1
ABSTAINS: Final = -2  # in place of a candidate: in no term does the server vote, since it may have forgotten votes

FIRST_VALUES: Final[Mapping[str, tuple[bytes, ...]]] = {VOTE: (b"0 -1",), TERM: (b"0",)}


class Vote(NamedTuple):
    """The candidate that has this server's vote of a term; NOBODY or ABSTAINS in place of one."""

    term: int
    candidate: int


def vote_cell(vote: Vote) -> Cell:
    """The operation that stores a vote."""
    return Cell(VOTE, b"%d %d" % vote)


def stored_vote(cells: Mapping[str, bytes]) -> Vote:
    """The stored vote. Raises DiskError for a cell that holds no vote."""
    value = cells.get(VOTE, b"0 -1")
    try:
        term, candidate = map(int, value.split())
    except ValueError:
        raise DiskError(f"{VOTE}: expected a term and a server, found {value[:20]!r}") from None
    if term < 0 or candidate < ABSTAINS:
        raise DiskError(f"{VOTE}: expected a term and a server, found {value[:20]!r}")
    return Vote(term, candidate)


def settle_terms(cells: Mapping[str, bytes], unfinished: Mapping[str, bytes], last_zxid: int) -> dict[str, bytes]:
    """Reconcile term and vote with the log; return the cells as they must be.

    unfinished: not used: a term or vote that was not stored to its end has not been told to anybody.
    last_zxid: of the log; -1 if not known.

    Raises DiskError if the vote is missing, or if the log has entries of a later term than the stored one: then a
    server that answered could vote twice in one term.
    """
    term, vote = stored_term(cells), stored_vote(cells)
    if VOTE not in cells and term > 0:
        raise DiskError(f"{VOTE} is missing: without it this server could vote twice in term {term}")
    if TERM in cells and max(vote.term, epoch_of(max(last_zxid, 0))) > term:
        raise DiskError(f"{TERM} is {term}, but vote {vote} and log 0x{last_zxid:x} are of a later term")
    term = max(term, vote.term, epoch_of(max(last_zxid, 0)))
    return {**cells, VOTE: vote_cell(vote).value, TERM: term_cell(term).value}
