"""One server of a run, as a script sees it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recipes.core.errors import BadArguments, InvariantBroken, WireError
from recipes.core.sim.network import Side
from recipes.core.sim.node import Node
from recipes.lab.served.describe import timers
from recipes.lab.served.disks import Fate, replace_disk
from recipes.lab.site import SLOWER
from recipes.lab.steps import WELL

if TYPE_CHECKING:
    from recipes.lab.served.world import ServedWorld


class Server(Node):
    """A server that stops where it finds that an invariant is broken, as a real one does."""

    fell: Callable[[str], None]

    def _do(self, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            super()._do(action, args)
        except (InvariantBroken, WireError) as error:
            self.fell(f"it stops: {error}")

    def _later(self, life: int, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            super()._later(life, action, args)
        except (InvariantBroken, WireError) as error:
            self.fell(f"it stops: {error}")


class ServerSite:
    """A server that runs, stands still or is down.

    shown: what it last said of itself. orphans: ends of connections of an earlier life, which noticed nothing.
    """

    def __init__(self, world: "ServedWorld", name: str, kind: str, node: Server, fate: Fate) -> None:
        self.name: str = name
        self.kind: str = kind
        self.node: Server = node
        node.fell = self.fell
        self.shown: dict[str, Any] = {}
        self.orphans: list[Side] = []
        self._world = world
        self._fate = fate
        self._power: bool | None = None  # after a power cut: whether unsynced writes are kept
        self._lost_power = False

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.node.up

    def start(self) -> None:
        """Start, with what is on the disk."""
        node = self.node
        if node.up:
            return
        if self._lost_power and self._power is not True:
            self._fate.loses_all = self._power is False
            node.disk.restart()
            self._fate.loses_all = False
        else:
            node.disk.revive()
        self._lost_power = False
        orphans, self.orphans = self.orphans, []
        self._world.disown(orphans)
        self.shown = {}
        node.start()

    def crash(self) -> None:
        """The process ends; its disk keeps all that was written."""
        if self._stop("crash"):
            self._world.end_connections(self.node, silently=False)

    def cut_power(self, keep: bool | None) -> None:
        """The machine loses power; `keep` says whether its disk keeps what was not synced, None leaves it to chance."""
        self._power = keep
        if self.node.up:
            self._lost_power = True
            self.node.disk.cut_power()
            self._stop("power")
            self._world.end_connections(self.node, silently=True)

    def fell(self, why: str) -> None:
        """The process has ended by itself."""
        self._world.cause = None
        if self.node.up:
            self.node.turn.stop()
            self.node.stop(why)
        self.shown = {}
        self._world.record(self.name, "crash", why=why)
        self._world.end_connections(self.node, silently=False)

    def wipe(self) -> None:
        """Replace the disk of a server that is down by an empty one, marked as an operator must mark it."""
        replace_disk(self.node.disk)
        self._world.cause = None
        self._world.record(self.name, "fault", what="wipe")

    def change_disk(self, disk: str) -> None:
        """Have a disk that is slow, full, failing at each sync, or well."""
        node, held = self.node, self.node.disk
        node.slow_disk = SLOWER if disk == "slow" else 1
        held.fail_syncs = disk == "failing"
        held.space_bytes = None
        if disk == "full":
            held.space_bytes = held.used_bytes
        self._world.cause = None
        self._world.record(self.name, "heal" if disk == WELL else "fault", what=f"disk {disk}")

    def move_clock(self, by_ms: int) -> None:
        """Set its wall clock forward, or back."""
        self.node.wall_offset_ms += by_ms
        self._world.cause = None
        self._world.record(self.name, "fault", what="clock")

    def pause(self) -> None:
        """Stand still."""
        if self.node.up and not self.node.paused:
            self.node.pause()
            self._world.cause = None
            self._world.record(self.name, "pause")

    def resume(self) -> None:
        """Go on with all that came meanwhile."""
        if self.node.paused:
            self._world.cause = None
            self._world.record(self.name, "resume")
            self.node.resume()

    def fire(self, name: str) -> None:
        """Set its clock forward to when this timer runs out. Raises BadArguments if it has no such timer now."""
        node, world = self.node, self._world
        if not node.up:
            return
        left = timers(node)
        if name not in left:
            has = ", ".join(left) or "none"
            raise BadArguments("", f"expire {name}: what {self.name} waits for is another timer now: {has}")
        world.cause = None
        world.tracer.called(node.sid, world.record(self.name, "timer", name=name))
        node.ahead_ms += max(0, left[name] - node.now_ms)
        node.take(node.peer.tick)

    def _stop(self, how: str) -> bool:
        if not self.node.up:
            return False
        self._world.cause = None
        self._world.record(self.name, how)
        self.node.turn.stop()
        self.node.stop(how)
        self.shown = {}
        return True
