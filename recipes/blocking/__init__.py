"""The recipes for threads: scripts, Django, Celery, all code outside an event loop (docs/blocking.md).

`from recipes.blocking import connect, Lock`, then `with` in place of `async with`, and no `await`. Each name does and
guarantees what the same name of `recipes` does. The differences:

- A blocking body cannot be cancelled. When its hold is lost, `ended` of the grant, term or message is set before
  anybody else can have the hold; any thread may call `ended.is_set()` or `ended.wait(seconds)`. The body goes on, and
  LockLost, LeadershipLost or AckLost is raised at the end of its block.
- Calls that wait for others take `within`, in seconds, and raise TimeoutError then, where a task would use
  `anyio.fail_after`. `try_acquire`, `try_lead` and `try_receive` give None. An iterator ends instead.
- Ctrl-C, or any other exception of a signal handler in a waiting thread, cancels the call: no znode stays in line.
- Any number of threads may use one client. A hold belongs to the thread that asked for it: threads exclude one another,
  and a thread that asks again for what it holds gets RuntimeError.
- In a forked child all objects of the parent raise RuntimeError, and touch nothing of the parent's. So do calls in a
  thread in which an event loop runs, since they would block the loop.

Each client has an event loop in a thread of its own. So a client that closes leaves nothing running, and no client
delays another.
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
from recipes.blocking.presence import EphemeralNode, Presence, Stay, TtlNode
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
    "TtlNode",
    "View",
    "Watch",
    "WatchStream",
    "WriteGrant",
    "connect",
]
