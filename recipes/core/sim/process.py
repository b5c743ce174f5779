"""A simulated process that uses the client: it runs, stands still, dies and is started again."""

from collections.abc import Callable, Coroutine
from typing import Any

from recipes.core.client.client import Client
from recipes.core.sim.chance import Random
from recipes.core.sim.client_tap import ClientTap
from recipes.core.sim.ensemble import Ensemble
from recipes.core.sim.loop import SimLoop
from recipes.core.sim.network import Side

Main = Callable[["Process"], Coroutine[Any, Any, None]]


class Process:
    """One client process, through any number of lives.

    site: its number in the network. main: makes the coroutine that each life runs. rate_pm: the speed of its clock, in
    thousandths. session_timeout: of the clients it makes, in seconds.
    life: how often it was started. pauses: how often it stood still. up: it runs.
    done: `main` has returned, so the process is not started again.
    chance: the random source for the program's own choices.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        site: int,
        main: Main,
        sources: Callable[[str], Any],
        *,
        rate_pm: int = 1000,
        session_timeout: float = 4.0,
    ) -> None:
        self.site = site
        self.main = main
        self.session_timeout = session_timeout
        self.tap: ClientTap = ClientTap()
        self.chance: Random = sources(f"program {site}")
        self.life: int = 0
        self.pauses: int = 0
        self.up: bool = False
        self.done: bool = False
        self.ended: list[Callable[[], None]] = []  # called at the end of each life, whatever its cause
        self._ensemble = ensemble
        self._rate_pm = rate_pm
        self._loop_chance: Random = sources(f"loop {site}")
        self._ids = sources(f"ids {site}")
        self._buried: list[SimLoop] = []
        self._orphans: list[Side] = []
        self.loop: SimLoop

    def __repr__(self) -> str:
        return f"process {self.site}, life {self.life}"

    # What the program uses.

    @property
    def hosts(self) -> str:
        """All servers, in the form that `connect` takes."""
        return ",".join(f"{_address(sid)}:2181" for sid in self._ensemble.nodes)

    @property
    def now_us(self) -> int:
        """The world's time; the process's own is `loop.time()`."""
        return self._ensemble.timeline.now_us

    def connect(self, session_timeout: float | None = None, chroot: str = "", *, renew: bool = False) -> Client:
        """A client as made by `recipes.connect`, with this process's clock, and with ids from the seed."""
        timeout = self.session_timeout if session_timeout is None else session_timeout
        client = Client(self.hosts + chroot, session_timeout=timeout, renew=renew)
        client.clock = self.loop.time
        client.random = self._ids
        client.process_name = f"simulated:{self.site}"  # a real name would get into the stored data and the trace
        return client

    def note(self, what: str) -> None:
        """Add an event to the trace and to the ensemble's notes."""
        self._ensemble.note(self.site, what)

    def count(self, what: str) -> None:
        """Count one occurrence of `what`."""
        self._ensemble.count(what)

    # Lives and faults.

    def start(self) -> None:
        """Begin a life."""
        ensemble = self._ensemble
        ensemble.network.disown(self._orphans)
        self._orphans = []
        self.life += 1
        self.up = True
        hosts = {_address(sid): sid for sid in ensemble.nodes}
        self.loop = SimLoop(  # type: ignore[abstract]  # nothing here calls the missing methods
            ensemble.timeline, ensemble.network, self._loop_chance, self.site, hosts, self._rate_pm, self.tap
        )
        self.note(f"starts life {self.life}")
        self.loop.create_task(self.main(self)).add_done_callback(self._returned)

    def _returned(self, task: Any) -> None:
        if self.loop.dead:
            return
        if not task.cancelled() and (error := task.exception()) is not None:
            self.loop.problems.append(f"the program ended with {error!r}")
        self.done = True
        self.note("its program is done")
        self._end()

    def crash(self, down_us: int, silently: bool = False) -> bool:
        """End the process, and start it again later. silently: no server notices that its connections are gone."""
        if not self.up:
            return False
        network = self._ensemble.network
        if silently:
            self._orphans += network.vanish(self.site)
        else:
            for side in network.sides_of(self.site):
                side.close()
        self._end()
        self._ensemble.timeline.after(down_us, self._restart, self.life)
        return True

    def _end(self) -> None:
        self.up = False
        self.loop.kill()
        self._buried.append(self.loop)
        for each in self.ended:
            each()

    def _restart(self, life: int) -> None:
        if life == self.life and not self.up and not self.done:
            self.start()

    def pause(self, for_us: int) -> bool:
        """Stand still."""
        if not self.up or self.loop.paused:
            return False
        loop = self.loop
        loop.pause()
        self.pauses += 1
        self._ensemble.timeline.after(for_us, self._resume, loop)
        return True

    def _resume(self, loop: SimLoop) -> None:
        if loop.paused and not loop.dead:
            loop.resume()

    def wake(self) -> None:
        """Go on now, if it stands still."""
        if self.up:
            self._resume(self.loop)

    def problems(self) -> list[str]:
        """The errors that its lives did not handle."""
        loops = [*self._buried, self.loop] if self.up else self._buried
        return [problem for loop in loops for problem in loop.problems]

    def bury(self) -> None:
        """End the remaining tasks of all its lives. The process must not be used after that."""
        if self.up:
            self._end()
        for loop in self._buried:
            loop.bury()


def _address(sid: int) -> str:
    return f"10.0.0.{sid}"
