"""Barriers for threads and processes: a gate, a gate with a count, and rounds."""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from recipes.barrier import barrier, double, inside, latch
from recipes.barrier.rounds import OnDeath
from recipes.blocking.block import Block, Blocks
from recipes.blocking.hold import Event, documented_by
from recipes.blocking.portal import Portal, portal_of

if TYPE_CHECKING:
    from recipes.blocking.client import Client
    from recipes.core.jute.records import ACL


@documented_by(barrier.Barrier)
class Barrier:
    """A gate: closed while the znode `path` exists. `wait` returns once it is gone. See recipes.Barrier."""

    def __init__(self, client: "Client", path: str, *, acl: "Sequence[ACL] | None" = None) -> None:
        self._portal = portal_of(client)
        self._barrier = barrier.Barrier(client.of_tasks, path, acl=acl)

    def create(self) -> bool:
        return self._portal.call(self._barrier.create)

    def remove(self) -> bool:
        return self._portal.call(self._barrier.remove)

    def wait(self, *, within: float | None = None) -> None:
        """Return once the gate is open, at once when it is. A lost connection changes nothing.

        within: seconds to wait at most, for ever without; then TimeoutError. Raises SessionExpired, ClientClosed,
        NoAuth.
        """
        self._portal.call(self._barrier.wait, within)


@documented_by(latch.CountDownLatch)
class CountDownLatch:
    """`wait` returns once `count_down` was called `count` times, with as many different tokens. See
    recipes.CountDownLatch.
    """

    def __init__(self, client: "Client", path: str, count: int) -> None:
        self._portal = portal_of(client)
        self._latch = latch.CountDownLatch(client.of_tasks, path, count)

    def count_down(self, token: str | None = None) -> bool:
        return self._portal.call(lambda: self._latch.count_down(token))

    def wait(self, *, within: float | None = None) -> None:
        """Return once the count is reached, at once when it is. A lost connection changes nothing.

        within: seconds to wait at most, for ever without; then TimeoutError. Raises SettingsDiffer, SessionExpired,
        ClientClosed, NoAuth.
        """
        self._portal.call(self._latch.wait, within)

    def remaining(self) -> int:
        return self._portal.call(self._latch.remaining)

    def remove(self) -> None:
        self._portal.call(self._latch.remove)


class Round:
    """A round that this party is in, bound by `with ... as round`.

    number: of this round, from 1 on. members: the names of all parties in it, in the order of arrival. broken: set when
    a party died inside, so that leaving will raise BrokenBarrier, or when this party's session is over.
    """

    __slots__ = ("broken", "members", "number")

    def __init__(self, portal: Portal, entered: inside.Round) -> None:
        self.number: int = entered.number
        self.members: tuple[str, ...] = entered.members
        self.broken: Event = Event(portal, entered.broken)

    def __repr__(self) -> str:
        return f"<Round {self.number} of {len(self.members)}{', broken' if self.broken.is_set() else ''}>"


class DoubleBarrier:
    """`with DoubleBarrier(client, path, parties) as round:` all begin the block together, and leave it together.

    within: seconds to wait for the others at most, when entering and again when leaving, for ever without; then
    TimeoutError, and the others see this party as dead. All else: see recipes.DoubleBarrier.

    Each thread that enters is a party of its own. A thread that is inside gets RuntimeError if it enters again.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        parties: int,
        *,
        on_death: OnDeath = "break",
        name: str | None = None,
        acl: "Sequence[ACL] | None" = None,
        within: float | None = None,
    ) -> None:
        self._portal = portal_of(client)
        self._barrier = double.DoubleBarrier(client.of_tasks, path, parties, on_death=on_death, name=name, acl=acl)
        self._within = within
        self._blocks: Blocks[inside.Round, Round] = Blocks()

    def __enter__(self) -> Round:
        block = Block(self._portal, lambda: self._barrier, lambda entered: Round(self._portal, entered), self._within)
        return self._blocks.enter(block)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._blocks.leave(kind, error, trace)
