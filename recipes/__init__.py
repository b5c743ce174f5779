"""Distributed locks and leader election for Python, on a ZooKeeper-compatible core of their own.

Names are loaded when first used, so a server starts without loading the client, and a client without the server.
"""

# ruff: noqa: I001 - `as` tells type checkers that a name is public; ruff's sorting would put each on its own line

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    # The one list of public names. Type checkers read it here; `_places` below reads it from this module's bytecode.
    from recipes.barrier.barrier import Barrier as Barrier
    from recipes.barrier.double import DoubleBarrier as DoubleBarrier
    from recipes.barrier.latch import CountDownLatch as CountDownLatch
    from recipes.barrier.inside import Round as Round
    from recipes.core.build import is_compiled as is_compiled
    from recipes.core.client.atomic import Transaction as Transaction
    from recipes.cache.cache import Cache as Cache
    from recipes.cache.changes import Change as Change, ChangeKind as ChangeKind, Changes as Changes
    from recipes.cache.children import ChildrenCache as ChildrenCache
    from recipes.cache.node import NodeCache as NodeCache
    from recipes.cache.tree import TreeCache as TreeCache
    from recipes.core.client.client import Client as Client
    from recipes.core.client.connect import connect as connect
    from recipes.core.client.multi import Multi as Multi
    from recipes.core.client.scope import SessionScope as SessionScope
    from recipes.core.client.call import Call as Call, Watcher as Watcher
    from recipes.core.client.session import (
        ConnectionState as ConnectionState,
        EventType as EventType,
        WatchEvent as WatchEvent,
    )
    from recipes.core.client.view import ChildrenView as ChildrenView, Node as Node, NodeView as NodeView
    from recipes.core.client.watch import (
        CreationWatch as CreationWatch,
        DeletionWatch as DeletionWatch,
        Watch as Watch,
        Watching as Watching,
        WatchStream as WatchStream,
    )
    from recipes.core.config import ServerConfig as ServerConfig, parse_zoo_cfg as parse_zoo_cfg
    from recipes.core.errors import (
        AckLost as AckLost,
        AuthFailed as AuthFailed,
        BadArguments as BadArguments,
        BadVersion as BadVersion,
        BarrierFull as BarrierFull,
        BrokenBarrier as BrokenBarrier,
        ClientClosed as ClientClosed,
        ConfigError as ConfigError,
        ConnectionLoss as ConnectionLoss,
        DiskError as DiskError,
        EphemeralOnLocalSession as EphemeralOnLocalSession,
        HoldLost as HoldLost,
        InvalidACL as InvalidACL,
        InvariantBroken as InvariantBroken,
        LeadershipLost as LeadershipLost,
        LockLost as LockLost,
        MalformedValue as MalformedValue,
        MarshallingError as MarshallingError,
        MembershipLost as MembershipLost,
        NoAuth as NoAuth,
        NoChildrenForEphemerals as NoChildrenForEphemerals,
        NodeExists as NodeExists,
        NoNode as NoNode,
        NotEmpty as NotEmpty,
        NotReadOnly as NotReadOnly,
        NoWatcher as NoWatcher,
        ParticipantError as ParticipantError,
        QueueFull as QueueFull,
        QuotaExceeded as QuotaExceeded,
        RecipesError as RecipesError,
        ReconfigDisabled as ReconfigDisabled,
        RuntimeInconsistency as RuntimeInconsistency,
        SessionClosedRequireAuth as SessionClosedRequireAuth,
        SessionError as SessionError,
        SessionExpired as SessionExpired,
        SettingsDiffer as SettingsDiffer,
        StoreError as StoreError,
        ThrottledOp as ThrottledOp,
        TransactionAborted as TransactionAborted,
        TransactionInDoubt as TransactionInDoubt,
        UnknownTransaction as UnknownTransaction,
        Unimplemented as Unimplemented,
        UnknownStoreError as UnknownStoreError,
        UpdateConflict as UpdateConflict,
        WireError as WireError,
    )
    from recipes.core.jute.records import ACL as ACL, Id as Id, Stat as Stat
    from recipes.core.permissions import (
        CREATOR_ALL_ACL as CREATOR_ALL_ACL,
        OPEN_ACL_UNSAFE as OPEN_ACL_UNSAFE,
        READ_ACL_UNSAFE as READ_ACL_UNSAFE,
        Perms as Perms,
        digest_acl as digest_acl,
    )
    from recipes.counter.counter import Added as Added, Counter as Counter
    from recipes.counter.ids import IdGenerator as IdGenerator
    from recipes.counter.shared import SharedValue as SharedValue, ValueVersion as ValueVersion
    from recipes.counter.value import AtomicValue as AtomicValue, Changed as Changed
    from recipes.core.server.server import serve as serve
    from recipes.election.election import Election as Election, Leader as Leader, Term as Term
    from recipes.election.latch import LeaderLatch as LeaderLatch
    from recipes.embedded import embedded_server as embedded_server
    from recipes.hold import Ended as Ended, Hold as Hold
    from recipes.line import Participant as Participant
    from recipes.lock.grant import Grant as Grant
    from recipes.lock.lock import Lock as Lock
    from recipes.lock.lockable import Lockable as Lockable
    from recipes.lock.multilock import MultiGrant as MultiGrant, MultiLock as MultiLock
    from recipes.lock.reentrant import ReentrantLock as ReentrantLock
    from recipes.lock.rwlock import ReadWriteLock as ReadWriteLock, WriteGrant as WriteGrant
    from recipes.lock.semaphore import Semaphore as Semaphore, SemaphoreGrant as SemaphoreGrant
    from recipes.membership.group import Group as Group, Member as Member, Stay as Stay
    from recipes.membership.partitioner import Partition as Partition, Partitioner as Partitioner
    from recipes.membership.presence import EphemeralNode as EphemeralNode, Presence as Presence
    from recipes.membership.ttl import TtlNode as TtlNode
    from recipes.membership.ring import HashRing as HashRing
    from recipes.membership.services import (
        Provider as Provider,
        Registration as Registration,
        ServiceInstance as ServiceInstance,
        ServiceRegistry as ServiceRegistry,
    )
    from recipes.queue.consume import Messages as Messages
    from recipes.queue.message import Message as Message
    from recipes.queue.queue import DeadLetters as DeadLetters, Queue as Queue
    from recipes.queue.records import Put as Put
    from recipes.transaction.branch import (
        Answer as Answer,
        BranchState as BranchState,
        Reply as Reply,
        Request as Request,
    )
    from recipes.transaction.coordinator import Coordinator as Coordinator, GlobalTransaction as GlobalTransaction
    from recipes.transaction.stats import CoordinatorStats as CoordinatorStats
    from recipes.transaction.files import FileBranch as FileBranch, FileParticipant as FileParticipant
    from recipes.transaction.guard import GuardRow as GuardRow, ParticipantGuard as ParticipantGuard
    from recipes.transaction.memory import MemoryParticipant as MemoryParticipant
    from recipes.transaction.participant import (
        BranchId as BranchId,
        Prepared as Prepared,
        ThreePhaseParticipant as ThreePhaseParticipant,
        TransactionParticipant as TransactionParticipant,
        Waiting as Waiting,
    )
    from recipes.transaction.postgres import (
        PostgresBranch as PostgresBranch,
        PostgresParticipant as PostgresParticipant,
    )
    from recipes.transaction.remote import RemoteBranch as RemoteBranch, RemoteParticipant as RemoteParticipant
    from recipes.transaction.service import branch_of as branch_of, participant_app as participant_app
    from recipes.transaction.sql import SqlBranch as SqlBranch
    from recipes.transaction.tpc import TpcParticipant as TpcParticipant
    from recipes.transaction.stages import CommitProtocol as CommitProtocol
    from recipes.transaction.termination import Termination as Termination
else:
    import sys
    from functools import cache
    from importlib import import_module

    _compiled = sys._getframe().f_code

    @cache
    def _places():
        """The module of each public name."""
        import dis  # imported here because most users of this package never need it

        places, module = {}, ""
        for step in dis.get_instructions(_compiled):
            if step.opname == "IMPORT_NAME":
                module = step.argval
            elif step.opname == "IMPORT_FROM" and module.startswith("recipes."):
                places[step.argval] = module
        return places

    def __getattr__(name):
        if name == "__all__":
            return sorted(_places())
        if name == "__version__":
            from recipes.core.build import installed_version

            return installed_version()
        if name.startswith("__") or name not in _places():
            raise AttributeError(f"module 'recipes' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        found = globals()[name] = getattr(import_module(_places()[name]), name)
        return found

    def __dir__():
        return sorted(_places())
