"""Locks."""

from recipes.lock.grant import Grant
from recipes.lock.lock import Lock
from recipes.lock.lockable import Lockable
from recipes.lock.multilock import MultiGrant, MultiLock
from recipes.lock.reentrant import ReentrantLock
from recipes.lock.rwlock import ReadWriteLock, WriteGrant
from recipes.lock.semaphore import Semaphore, SemaphoreGrant

__all__ = [
    "Grant",
    "Lock",
    "Lockable",
    "MultiGrant",
    "MultiLock",
    "ReadWriteLock",
    "ReentrantLock",
    "Semaphore",
    "SemaphoreGrant",
    "WriteGrant",
]
