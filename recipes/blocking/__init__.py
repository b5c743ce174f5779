"""The recipes for threads: scripts, Django, Celery, whatever does not run in an event loop (docs/blocking.md).

`from recipes.blocking import connect, Lock`, and then `with` where the async names have `async with`, and no `await`.
What each name does and guarantees is what `recipes` says of it. What differs:

- A blocking body cannot be cancelled. When what it holds is lost, `ended` of the grant, term or message is set, before
  anybody else can have it; any thread may ask `ended.is_set()` or wait in `ended.wait(seconds)`. The body goes on, and
  LockLost, LeadershipLost or AckLost is raised at the end of its block.
- What waits for others takes `within`, in seconds, and raises TimeoutError then, where a task would have used
  `anyio.fail_after`; `try_acquire`, `try_lead` and `try_receive` give None. An iterator ends instead.
- Ctrl-C, or whatever else a signal raises in a thread that waits, cancels what it waits for: no znode stays in line.
- A client may be used by any number of threads. What is held is the thread's that asked for it: threads exclude one
  another, and a thread that asks for what it holds gets RuntimeError.
- A forked child gets RuntimeError from everything of its parent's, and touches nothing of it. So does a thread in which
  an event loop runs, since that would be blocked.

Each client has an event loop in a thread of its own, and not all clients one: a client that closes leaves nothing
running, and nothing that one of them does holds up another.
"""

from recipes.blocking.atomic import Transaction
from recipes.blocking.barrier import Barrier, CountDownLatch, DoubleBarrier, Round
from recipes.blocking.cache import Cache, Changes, ChildrenCache, NodeCache, TreeCache
from recipes.blocking.client import Client, connect
from recipes.blocking.counter import AtomicValue, Counter, IdGenerator, SharedValue
from recipes.blocking.election import Election, LeaderLatch
from recipes.blocking.hold import Ended, Event, Grant, Hold, Message, SemaphoreGrant, Term, WriteGrant
from recipes.blocking.lock import Lock, ReadWriteLock, Semaphore
from recipes.blocking.lockable import Lockable
from recipes.blocking.membership import Group, Member
from recipes.blocking.multilock import MultiGrant, MultiLock, ReentrantLock
from recipes.blocking.partitioner import Partition, Partitioner
from recipes.blocking.presence import EphemeralNode, Presence, Stay
from recipes.blocking.queue import DeadLetters, Messages, Queue
from recipes.blocking.services import Provider, Registration, ServiceRegistry
from recipes.blocking.transaction import Coordinator, EnlistedBranch, GlobalTransaction, Termination
from recipes.blocking.watching import Multi, View, Watch, WatchStream

__all__ = [
    "AtomicValue",
    "Barrier",
    "Cache",
    "Changes",
    "ChildrenCache",
    "Client",
    "Coordinator",
    "CountDownLatch",
    "Counter",
    "DeadLetters",
    "DoubleBarrier",
    "Election",
    "Ended",
    "EnlistedBranch",
    "EphemeralNode",
    "Event",
    "GlobalTransaction",
    "Grant",
    "Group",
    "Hold",
    "IdGenerator",
    "LeaderLatch",
    "Lock",
    "Lockable",
    "Member",
    "Message",
    "Messages",
    "Multi",
    "MultiGrant",
    "MultiLock",
    "NodeCache",
    "Partition",
    "Partitioner",
    "Presence",
    "Provider",
    "Queue",
    "ReadWriteLock",
    "ReentrantLock",
    "Registration",
    "Round",
    "Semaphore",
    "SemaphoreGrant",
    "ServiceRegistry",
    "SharedValue",
    "Stay",
    "Term",
    "Termination",
    "Transaction",
    "TreeCache",
    "View",
    "Watch",
    "WatchStream",
    "WriteGrant",
    "connect",
]
