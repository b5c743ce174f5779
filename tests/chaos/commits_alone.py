"""`recipes` with a planted bug: a leader takes as committed what it alone has on its disk."""

from __future__ import annotations

import sys

from recipes.cli import main
from recipes.core.quorum import Membership


def committed(self: Membership, held: dict[int, int]) -> int:
    return max(held.values())


if __name__ == "__main__":
    Membership.committed = committed  # type: ignore[method-assign]
    sys.exit(main())
