"""The number of the last leadership that a server has taken part in, which it must not forget: a cell.

acceptedEpoch is that number in decimal: a term of raft, a ballot that a Paxos acceptor has promised, or a fence of
primary-backup. It is the upper half of the zxids of the entries that its leader makes.
"""

from collections.abc import Mapping
from typing import Final

from recipes.core.errors import DiskError
from recipes.core.replication import Cell

TERM: Final = "acceptedEpoch"


def term_cell(term: int) -> Cell:
    """The operation that stores a term."""
    return Cell(TERM, b"%d" % term)


def stored_term(cells: Mapping[str, bytes]) -> int:
    """The stored term; 0 where there is none. Raises DiskError for a cell that holds no term."""
    return stored_number(cells, TERM, "a term")


def stored_number(cells: Mapping[str, bytes], name: str, what: str) -> int:
    """The number in a cell; 0 where there is none. Raises DiskError for a cell that holds no number. what: it means."""
    value = cells.get(name, b"0").strip()
    if not value.isdigit():
        raise DiskError(f"{name}: expected {what}, found {value[:20]!r}")
    return int(value)
