"""Counters, values that several processes change, and ids that are given out once."""

from recipes.counter.counter import Added, Counter
from recipes.counter.ids import IdGenerator
from recipes.counter.shared import SharedValue, ValueVersion
from recipes.counter.value import AtomicValue, Changed

__all__ = ["Added", "AtomicValue", "Changed", "Counter", "IdGenerator", "SharedValue", "ValueVersion"]
