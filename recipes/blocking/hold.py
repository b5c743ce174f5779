"""Holds of threads, such as grants and terms, and the event that says when a hold has ended."""

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from recipes import hold as of_tasks
from recipes.blocking.block import Block
from recipes.blocking.portal import Portal
from recipes.core.errors import ClientClosed

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    import anyio

    from recipes import lock
    from recipes.blocking.watching import Multi
    from recipes.core.client import multi as of_multi
    from recipes.election import election
    from recipes.line import Participant
    from recipes.queue import message

T = TypeVar("T")
C = TypeVar("C", bound=type)


def documented_by(source: type) -> Callable[[C], C]:
    """Give public members without a docstring the one of the same name in `source`, which does the same."""

    def document(cls: C) -> C:
        for name, member in vars(cls).items():
            # Under -OO nothing has a docstring, not even our own properties.
            documents = callable(member) or isinstance(member, property)  # a slot cannot be documented
            if documents and not name.startswith("_") and member.__doc__ is None and hasattr(source, name):
                member.__doc__ = getattr(source, name).__doc__
        return cls

    return document


def guarded_by(
    portal: Portal, begin: "Callable[[], AbstractAsyncContextManager[of_multi.Multi]]"
) -> "AbstractContextManager[Multi]":
    """The block of `guarded`: writes that are applied only while something is held."""
    from recipes.blocking.watching import Multi

    return Block(portal, begin, lambda multi: Multi(portal, multi))


class Event:
    """Something that happens once, in the client's thread. Any thread may use it."""

    __slots__ = ("_event", "_portal")

    def __init__(self, portal: Portal, event: "anyio.Event | of_tasks.Ended") -> None:
        self._portal = portal
        self._event: Any = event

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {'set' if self.is_set() else 'not yet'}>"

    def is_set(self) -> bool:
        """Whether it has happened."""
        return bool(self._event.is_set())

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it has happened, for `timeout` seconds at most. Return whether it has, as threading.Event."""
        if not self.is_set():
            try:
                self._portal.call(self._event.wait, timeout)
            except (TimeoutError, ClientClosed):
                pass
        return self.is_set()


class Ended(Event):
    """The end of a hold. Set after any end, before anybody else can have the hold, and for ever.

    It is also set when, by this process's clock, the servers may have ended the session, although no server has said so
    yet. `is_set` sees that at once, and `wait` a moment later.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Ended: {self.why or 'not yet'}>"

    @property
    def why(self) -> str:
        """Why the hold is over, in one phrase; "" while it is not."""
        return str(self._event.why)

    @property
    def lost(self) -> bool:
        """Whether the hold is over against our will."""
        return bool(self._event.lost)


class Hold:
    """A hold, good until `ended` is set; a body that runs for long should check `ended` now and then.

    fence: czxid of our znode; a later holder's is higher, so storage can refuse older ones. path: our znode.
    session_id: of the session that it goes with. ended: set once the hold is over. Any thread may use it.
    """

    __slots__ = ("_hold", "_portal", "ended", "fence", "path", "session_id")

    _hold: Any

    def __init__(self, portal: Portal, hold: of_tasks.Hold) -> None:
        self._portal = portal
        self._hold = hold
        self.ended: Ended = Ended(portal, hold.ended)
        self.fence: int = hold.fence
        self.path: str = hold.path
        self.session_id: int = hold.session_id

    def __repr__(self) -> str:
        return repr(self._hold)

    @property
    def lost(self) -> bool:
        """Whether it ended against our will: the session is over, or somebody else deleted our znode."""
        return self.ended.lost

    @property
    def why(self) -> str:
        """Why it ended, in one phrase, such as "released" or "the session is over"; "" while it is held."""
        return self.ended.why

    def guarded(self) -> "AbstractContextManager[Multi]":
        """`with it.guarded() as multi: multi.set(...)`: writes that are applied only while this is held.

        As `client.multi()`, with a check of our znode: the store applies all of it or nothing. After the end of the
        hold it raises the error of a loss, such as LockLost, and nothing is applied. See recipes.Hold.guarded.
        """
        return guarded_by(self._portal, self._hold.guarded)


class Grant(Hold):
    """The hold of a lock; see Hold."""

    __slots__ = ("_revoke",)

    _hold: "lock.Grant"
    _revoke: Event

    @property
    def revoke_requested(self) -> Event:
        """Set once somebody has called `revoke()` to ask for this lock: release it as soon as it suits you.

        Nothing else happens by itself: a holder that does not look keeps the lock. Any thread may use it.
        """
        if not hasattr(self, "_revoke"):
            self._revoke = Event(self._portal, self._portal.run(lambda: self._hold.revoke_requested))
        return self._revoke

    def release(self) -> None:
        """Give the lock up, and return once the server has confirmed it. `ended` is set before the request goes out.

        Any thread may call it, more than once. A block around it goes on without the lock. Without a block, raises
        LockLost if the lock was lost. Raises NoAuth without the right.
        """
        self._portal.call(self._hold.release)


class SemaphoreGrant(Grant):
    """The hold of a Semaphore; see Hold. permits: how many."""

    __slots__ = ("permits",)

    def __init__(self, portal: Portal, hold: "lock.SemaphoreGrant") -> None:
        super().__init__(portal, hold)
        self.permits: int = hold.permits


class WriteGrant(Grant):
    """The hold of a writer; see Hold. path: our znode, a different one after `downgrade`."""

    __slots__ = ()

    _hold: "lock.WriteGrant"

    @property
    def reading(self) -> bool:
        """Whether it was downgraded to a reader."""
        return self._hold.reading

    def downgrade(self) -> None:
        """Go on as a reader, in the same place in line: readers may come in, and no writer gets in between.

        Returns once the server has confirmed it. A second call does nothing. Raises LockLost after the end of the hold,
        and what recipes.WriteGrant.downgrade does.
        """
        self._portal.call(self._hold.downgrade)
        self.path: str = self._hold.path


class Term(Hold):
    """One candidate's time as leader; see Hold."""

    __slots__ = ()

    _hold: "election.Term"

    def resign(self) -> None:
        """Give leadership up, and return once the server has confirmed it. `ended` is set before the request goes out.

        Any thread may call it, more than once. The block goes on, and leads no more. Raises NoAuth without the right.
        """
        self._portal.call(self._hold.resign)

    def announce(self, data: bytes) -> None:
        """Replace our data: `leader`, `observe` and `candidates` show it once this has returned.

        Any thread may call it. Raises LeadershipLost after the end of the term, NoAuth without the right.
        """
        self._portal.call(lambda: self._hold.announce(data))

    def transfer(self, to: "Participant | str", *, within: float = 5.0) -> bool:
        """Hand leadership to the candidate `to`: one of `candidates()`, or its id; see recipes.Term.transfer.

        Any thread may call it. The block goes on, and leads no more.
        """
        return self._portal.call(lambda: self._hold.transfer(to, within=within))


class Message(Hold, Generic[T]):
    """A claimed item, good inside its block: `with message:`; see recipes.Message for what the block's end does.

    The body cannot be cancelled: when the claim is lost, `ended` is set, and AckLost is raised at the block's end. If
    `drain(within=)` wants the item back, it goes back when the body has ended.
    """

    __slots__ = ("_block", "attempt", "data", "key", "priority", "reason")

    _hold: "message.Message[T]"

    def __init__(self, portal: Portal, hold: "message.Message[T]") -> None:
        super().__init__(portal, hold)
        self.data: T = hold.data
        self.attempt: int = hold.attempt
        self.key: str = hold.key
        self.priority: int = hold.priority
        self.reason: str = hold.reason
        self._block: Block[Any, None] = Block(portal, lambda: hold, lambda _: None)

    def __enter__(self) -> Self:
        self._block.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._block.__exit__(kind, error, trace)

    def release(self) -> None:
        """Give the item back to its old place, uncounted, and return once it is there. The block may go on without it.

        Raises what every call of the client does.
        """
        self._portal.call(self._hold.release)

    def extend(self) -> None:
        """Start the lease again, by the servers' clock. Raises AckLost if the claim was taken away already."""
        self._portal.call(self._hold.extend)

    def check(self, multi: "Multi") -> None:
        """Make the server refuse `multi`, a `client.multi()`, unless we still have this claim."""
        self._portal.run(lambda: self._hold.check(multi.of_tasks))
