"""Carries out faults on client processes: they die, stand still, lose connections and replies."""

from collections.abc import Callable, Sequence

from recipes.core.sim.ensemble import Ensemble
from recipes.core.sim.plan import Fault
from recipes.core.sim.process import Process

PROCESS_FAULTS = (
    "crash", "machine crash", "short pause", "long pause", "cut off", "mute", "deaf", "break", "lost reply",
)  # fmt: skip
Directions = list[tuple[int, int]]


class ProcessNemesis:
    """Carries out a plan's faults on processes, and ends them all at `calm`.

    timeout_ms: of their sessions; a long pause is longer.
    """

    def __init__(self, ensemble: Ensemble, timeout_ms: int) -> None:
        self._ensemble = ensemble
        self._timeout_ms = timeout_ms
        self._blocked: list[Directions] = []
        self._calmed = False

    def strike(self, process: Process, fault: Fault) -> None:
        """Carry out a fault on a process."""
        if not self._calmed and _STRIKES[fault.kind](self, process, fault):
            self._ensemble.count(fault.kind)
            self._ensemble.note(process.site, f"{fault.kind} for {fault.for_us}")

    def calm(self, processes: Sequence[Process]) -> None:
        """End all faults; processes that are down restart at their time."""
        self._calmed = True
        blocked, self._blocked = self._blocked, []
        for directions in blocked:
            self._ensemble.network.unblock(directions)
        for process in processes:
            process.wake()
            process.tap.lose.clear()
            process.tap.lose_create = False

    def _crash(self, process: Process, fault: Fault) -> bool:
        return process.crash(fault.for_us)

    def _crash_machine(self, process: Process, fault: Fault) -> bool:
        return process.crash(fault.for_us, silently=True)

    def _pause(self, process: Process, fault: Fault) -> bool:
        return process.pause(fault.for_us // 4)

    def _pause_for_long(self, process: Process, fault: Fault) -> bool:
        return process.pause(self._timeout_ms * (1050 + fault.amount % 1000))

    def _cut_off(self, process: Process, fault: Fault) -> bool:
        return self._block(self._to(process) + self._from(process), process, fault)

    def _mute(self, process: Process, fault: Fault) -> bool:
        return self._block(self._from(process), process, fault)

    def _deafen(self, process: Process, fault: Fault) -> bool:
        return self._block(self._to(process), process, fault)

    def _to(self, process: Process) -> Directions:
        return [(sid, process.site) for sid in self._ensemble.nodes]

    def _from(self, process: Process) -> Directions:
        return [(process.site, sid) for sid in self._ensemble.nodes]

    def _block(self, directions: Directions, process: Process, fault: Fault) -> bool:
        network = self._ensemble.network
        network.block(directions)
        self._blocked.append(directions)
        if fault.amount & 1:  # the connections break at once, instead of standing still
            self._break(process, fault)
        for_us = fault.for_us
        if fault.amount & 6 == 0:  # for longer than a session timeout
            for_us += self._timeout_ms * 1100

        def over() -> None:
            if directions in self._blocked:
                self._blocked.remove(directions)
                network.unblock(directions)

        self._ensemble.timeline.after(for_us, over)
        return True

    def _break(self, process: Process, fault: Fault) -> bool:
        network = self._ensemble.network
        sides = [side for side in network.sides_of(process.site) if side.peer.peer is side and not side.peer.closed]
        for side in sides:
            network.reset(side)
        return bool(sides)

    def _lose_reply(self, process: Process, fault: Fault) -> bool:
        if fault.amount & 1:  # the lost reply that leaves most in doubt
            process.tap.lose_create = True
        else:
            process.tap.lose.add(len(process.tap.kinds) + 1 + fault.amount // 2 % 4)
        return process.up


_STRIKES: dict[str, Callable[[ProcessNemesis, Process, Fault], bool]] = {
    "crash": ProcessNemesis._crash,
    "machine crash": ProcessNemesis._crash_machine,
    "short pause": ProcessNemesis._pause,
    "long pause": ProcessNemesis._pause_for_long,
    "cut off": ProcessNemesis._cut_off,
    "mute": ProcessNemesis._mute,
    "deaf": ProcessNemesis._deafen,
    "break": ProcessNemesis._break,
    "lost reply": ProcessNemesis._lose_reply,
}
