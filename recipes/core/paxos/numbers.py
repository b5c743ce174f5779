"""Ballots, and the two numbers that an acceptor must not forget, each in a cell.

A ballot is a counter and the sid of its proposer in the lowest 8 bits: so it belongs to one server, and fits into the
upper half of a zxid. acceptedEpoch is the highest ballot that this server has promised. paxosAccepted is the ballot in
which it has accepted all of its log, up to where that log ends or the next number says more; -1: it may have forgotten
promises, and takes no part. Source: Lamport, Paxos Made Simple (2001), section 2.
"""

from collections.abc import Mapping
from typing import Final

from recipes.core.errors import DiskError
from recipes.core.replicas.terms import TERM, stored_number, stored_term, term_cell
from recipes.core.replication import Cell
from recipes.core.zxid import epoch_of

ACCEPTED: Final = "paxosAccepted"
FORGOTTEN: Final = -1  # in place of the accepted ballot
MOST_SID: Final = 255
_SID_BITS: Final = 8

FIRST_VALUES: Final[Mapping[str, tuple[bytes, ...]]] = {ACCEPTED: (b"0",), TERM: (b"0",)}


def next_ballot(ballot: int, sid: int) -> int:
    """The first ballot of `sid` that is higher than `ballot`."""
    return ((ballot >> _SID_BITS) + 1) << _SID_BITS | sid


def proposer_of(ballot: int) -> int:
    """The server to which a ballot belongs."""
    return ballot & MOST_SID


def accepted_cell(ballot: int) -> Cell:
    """The operation that stores the accepted ballot."""
    return Cell(ACCEPTED, b"%d" % ballot)


def stored_accepted(cells: Mapping[str, bytes]) -> int:
    """The stored accepted ballot, or FORGOTTEN; 0 where there is none. Raises DiskError for another value."""
    if cells.get(ACCEPTED) == b"%d" % FORGOTTEN:
        return FORGOTTEN
    return stored_number(cells, ACCEPTED, "a ballot")


def settle_numbers(cells: Mapping[str, bytes], unfinished: Mapping[str, bytes], last_zxid: int) -> dict[str, bytes]:
    """Reconcile the two ballots with the log; return the cells as they must be.

    unfinished: not used: a ballot that was not stored to its end has not been told to anybody.
    last_zxid: of the log; -1 if not known.

    Raises DiskError if the accepted ballot is missing, or if it or the log is of a later ballot than the promised one:
    then a promise is lost.
    """
    promised, accepted = stored_term(cells), stored_accepted(cells)
    least = max(accepted, epoch_of(max(last_zxid, 0)))
    if ACCEPTED not in cells and promised > 0:
        raise DiskError(f"{ACCEPTED} is missing: without it nobody knows in which ballot this log was accepted")
    if TERM in cells and least > promised:
        raise DiskError(f"{TERM} is {promised}, but {ACCEPTED} {accepted} or log 0x{last_zxid:x} is of a later ballot")
    return {**cells, ACCEPTED: accepted_cell(accepted).value, TERM: term_cell(max(promised, least)).value}
