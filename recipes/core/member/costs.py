"""What a server's work costs, in units of about a microsecond of its time, and how many units a turn has."""

from typing import Final

from recipes.core.jute import opcodes as op
from recipes.core.jute.txns import Txn
from recipes.core.tree.tree import DataTree

TURN_UNITS: Final = 8000  # for what takes several turns, of all connections together
MAKING_UNITS: Final = 4000  # for txns that are made in slices, and for what waits behind them, in one turn
LARGE_MULTI_BYTES: Final = 8192  # larger ones are prepared in slices

_WRITE_UNITS: Final = 30
_BYTES_PER_UNIT: Final = 256  # of a write's data
_MULTI_BYTES_PER_UNIT: Final = 10
_PART_UNITS: Final = 2  # to apply a part of a multi
_CLOSING_UNITS: Final = 50  # from the request to the closed socket
_EPHEMERAL_UNITS: Final = 3


def write_units(tree: DataTree, kind: int, session_id: int, size: int) -> int:
    """What a write costs the turn that prepares it. size: of its body."""
    if kind == op.CLOSE_SESSION:
        return closing_units(len(tree.ephemerals.get(session_id, ())))
    is_small_multi = kind == op.MULTI and size <= LARGE_MULTI_BYTES
    return _WRITE_UNITS + size // (_MULTI_BYTES_PER_UNIT if is_small_multi else _BYTES_PER_UNIT)


def closing_units(ephemerals: int) -> int:
    """What the end of a session with so many ephemeral znodes costs, if it does not go in slices."""
    return _CLOSING_UNITS + _EPHEMERAL_UNITS * ephemerals


def ephemerals_of(tree: DataTree, closing: Txn) -> int:
    """About how many znodes go with the session that this txn closes."""
    listed = closing[5][0]
    return max(len(listed) if listed else 0, len(tree.ephemerals.get(closing[0], ())))


def multi_units(multi: Txn) -> int:
    """What it costs to apply a multi."""
    return _PART_UNITS * len(multi[5])
