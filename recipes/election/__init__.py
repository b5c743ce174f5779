"""Leader election."""

from recipes.election.election import Election, Leader, Term

__all__ = ["Election", "Leader", "Term"]
