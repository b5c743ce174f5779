"""Locks."""

from recipes.lock.lock import Grant, Lock

__all__ = ["Grant", "Lock"]
