"""Counters, values that several processes change, and numbers that are given out once."""

from recipes.counter.counter import Added, Counter

__all__ = ["Added", "Counter"]
