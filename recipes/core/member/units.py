"""How much clients may cost a turn of the server. A unit is about a microsecond, such as a look at one znode."""

from typing import Final

MOST_UNITS: Final = 4000  # of one connection in one turn; what is behind them waits for later turns
TURN_UNITS: Final = 8000  # of all connections together, for what may take several turns
CLOSING_UNITS: Final = 50  # of the closing of a session, and of a small multi
BYTES_PER_UNIT: Final = 256  # of a large reply
