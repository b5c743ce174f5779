"""Leader election."""

from recipes.election.election import Election, Leader, Term
from recipes.election.latch import LeaderLatch

__all__ = ["Election", "Leader", "LeaderLatch", "Term"]
