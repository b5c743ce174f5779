"""What a thread has in hand, and the event that says when it is its no more."""

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
    """Give each public member of a class that has no docstring that of the same name in `source`: it does the same."""

    def document(cls: C) -> C:
        for name, member in vars(cls).items():
            # Under -OO nothing has one, properties of our own included.
            documents = callable(member) or isinstance(member, property)  # a slot cannot be documented
            if documents and not name.startswith("_") and member.__doc__ is None and hasattr(source, name):
                member.__doc__ = getattr(source, name).__doc__
        return cls

    return document


def guarded_by(
    portal: Portal, begin: "Callable[[], AbstractAsyncContextManager[of_multi.Multi]]"
) -> "AbstractContextManager[Multi]":
    """The block of writes that are applied only while something is held."""
    from recipes.blocking.watching import Multi

    return Block(portal, begin, lambda multi: Multi(portal, multi))


class Event:
    """Something that happens once, in the client's thread. Any thread may ask."""

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
        """Block until it has happened, for `timeout` seconds at most; whether it has, as threading.Event says it."""
        if not self.is_set():
            try:
                self._portal.call(self._event.wait, timeout)
            except (TimeoutError, ClientClosed):
                pass
        return self.is_set()


class Ended(Event):
    """What this belongs to is over. Set after any end, before anybody else can have it, and for ever.

    It is set, too, when by this process's clock the servers may have ended the session, although nobody has said so
    yet; that is seen by `is_set`, and a moment later by `wait`.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Ended: {self.why or 'not yet'}>"

    @property
    def why(self) -> str:
        """Why it is over, in one phrase; "" while it is not."""
        return str(self._event.why)

    @property
    def lost(self) -> bool:
        """Whether it is over against our will."""
        return bool(self._event.lost)


class Hold:
    """What a holder has in hand, good until `ended` is set, which a body that runs for long looks at now and then.

    fence: czxid of our znode; a later holder's is higher, so storage can refuse older ones. path: our znode.
    session_id: of the session that it goes with. ended: set once it is over. Any thread may ask.
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

        As `client.multi()`, with a check of our znode in it: the store applies all of it or nothing. Once this has
        ended it raises the error of a loss, such as LockLost, and nothing was applied. See recipes.Hold.guarded.
        """
        return guarded_by(self._portal, self._hold.guarded)


class Grant(Hold):
    """What a holder of a lock has in hand; see Hold."""

    __slots__ = ("_revoke",)

    _hold: "lock.Grant"
    _revoke: Event

    @property
    def revoke_requested(self) -> Event:
        """Set once somebody asked for this to be given up, with `revoke()`: do so as soon as it suits you.

        Nothing else happens by itself; a holder that does not look keeps what it has. Any thread may ask.
        """
        if not hasattr(self, "_revoke"):
            self._revoke = Event(self._portal, self._portal.run(lambda: self._hold.revoke_requested))
        return self._revoke

    def release(self) -> None:
        """Give the lock up, and return once the server has confirmed it. `ended` is set before the request goes out.

        Any thread may do it, more than once. Inside a block that one goes on without the lock. Without a block, raises
        LockLost if it was lost. NoAuth without the right.
        """
        self._portal.call(self._hold.release)


class SemaphoreGrant(Grant):
    """What a holder of a Semaphore has in hand; see Hold. permits: how many."""

    __slots__ = ("permits",)

    def __init__(self, portal: Portal, hold: "lock.SemaphoreGrant") -> None:
        super().__init__(portal, hold)
        self.permits: int = hold.permits


class WriteGrant(Grant):
    """What a writer has in hand; see Hold. path: as it was at first; another one after `downgrade`."""

    __slots__ = ()

    _hold: "lock.WriteGrant"

    @property
    def reading(self) -> bool:
        """Whether it was downgraded: it holds as a reader."""
        return self._hold.reading

    def downgrade(self) -> None:
        """Go on as a reader, in the same place in line: readers may come in, and no writer gets in between.

        Return once the server has confirmed it. The second time it does nothing. Raises LockLost once this has ended,
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

        Any thread may do it, more than once. The block goes on, and leads no more. Raises NoAuth without the right.
        """
        self._portal.call(self._hold.resign)

    def announce(self, data: bytes) -> None:
        """Replace what others see of us: `leader`, `observe` and `candidates` show `data` once this has returned.

        Any thread may do it. Raises LeadershipLost once this has ended, NoAuth without the right.
        """
        self._portal.call(lambda: self._hold.announce(data))

    def transfer(self, to: "Participant | str", *, within: float = 5.0) -> bool:
        """Hand leadership to the candidate `to`: one of `candidates()`, or its id; see recipes.Term.transfer.

        Any thread may do it. The block goes on, and leads no more.
        """
        return self._portal.call(lambda: self._hold.transfer(to, within=within))


class Message(Hold, Generic[T]):
    """An item in hand, good inside its block: `with message:`; see recipes.Message for what its end does.

    The body cannot be cancelled: `ended` is set when the claim is lost, and AckLost raised at the block's end. An item
    that `drain(within=)` wants back goes when the body has ended.
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
        """Begin the lease anew, by the servers' clock. Raises AckLost when it was taken away already."""
        self._portal.call(self._hold.extend)

    def check(self, multi: "Multi") -> None:
        """Let `multi`, a `client.multi()`, be refused unless this item still is in hand here."""
        self._portal.run(lambda: self._hold.check(multi.of_tasks))
