"""Fences, which number the terms of primaries, and who is in the set that must have each write: two cells.

acceptedEpoch is the newest fence that this server knows of. From its highest bits to its lowest it has how often an
operator has promoted a server, how often that server has started since, and its sid. So a primary that was replaced
never has the newer fence, however often it starts. copiesSet says whether this server was promoted without a fence,
and which backups it waits for as a primary: "0 all" until an operator changes it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from recipes.core.errors import DiskError
from recipes.core.replicas.terms import TERM, stored_term, term_cell
from recipes.core.replication import Cell
from recipes.core.zxid import epoch_of

SET: Final = "copiesSet"
MOST_SID: Final = 255
_SID_BITS: Final = 8
_PROMOTION_SHIFT: Final = 23

FIRST_VALUES: Final[Mapping[str, tuple[bytes, ...]]] = {SET: (b"0 all",), TERM: (b"0",)}


def next_start(fence: int, sid: int) -> int:
    """The fence of `sid`, which is the primary already, for its next start."""
    return ((fence >> _SID_BITS) + 1) << _SID_BITS | sid


def promoted(fence: int, sid: int) -> int:
    """The fence of `sid`, which becomes the primary."""
    return ((fence >> _PROMOTION_SHIFT) + 1) << _PROMOTION_SHIFT | sid


def owner_of(fence: int) -> int:
    """The server whose fence it is; 0 for the fence of an ensemble that has never run."""
    return fence & MOST_SID


def set_cell(unfenced: bool, backups: Sequence[int]) -> Cell:
    """The operation that stores what an operator has decided for this server."""
    return Cell(SET, f"{unfenced:d} {','.join(map(str, backups))}".encode())


def stored_set(cells: Mapping[str, bytes], others: Sequence[int]) -> tuple[bool, tuple[int, ...]]:
    """Whether this server was promoted without a fence, and its backups. others: all other voters.

    Raises DiskError for a cell that says neither.
    """
    value = cells.get(SET, b"0 all").decode(errors="replace")
    flag, _, names = value.partition(" ")
    try:
        backups = tuple(others) if names == "all" else tuple(int(name) for name in names.split(",") if name)
    except ValueError:
        backups = None
    if flag not in ("0", "1") or backups is None:
        raise DiskError(f"{SET}: expected 0 or 1 and a list of servers, found {value[:20]!r}")
    return flag == "1", backups


def settle_fences(cells: Mapping[str, bytes], unfinished: Mapping[str, bytes], last_zxid: int) -> dict[str, bytes]:
    """Reconcile the fence with the log; return the cells as they must be.

    unfinished: not used: a fence that was not stored to its end has not been told to anybody.
    last_zxid: of the log; -1 if not known.

    Raises DiskError if the log is of a newer fence than the stored one.
    """
    fence, of_log = stored_term(cells), epoch_of(max(last_zxid, 0))
    stored_set(cells, ())
    if TERM in cells and of_log > fence:
        raise DiskError(f"{TERM} is {fence}, but log 0x{last_zxid:x} is of a newer fence")
    return {**cells, SET: cells.get(SET, b"0 all"), TERM: term_cell(max(fence, of_log)).value}
