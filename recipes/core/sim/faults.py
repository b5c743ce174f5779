"""Carries out faults: on the servers, their disks, their clocks, and the network between them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from recipes.core.disk.replace import REJOIN
from recipes.core.sim.plan import LEADER, Fault

if TYPE_CHECKING:
    from recipes.core.sim.ensemble import Ensemble
    from recipes.core.sim.node import Node

Directions = list[tuple[int, int]]


class Nemesis:
    """Carries out the faults of an ensemble's plan, and ends them all at `calm`."""

    def __init__(self, ensemble: "Ensemble") -> None:
        self._ensemble = ensemble
        self._blocked: list[Directions] = []
        self._calmed = False

    def strike(self, fault: Fault) -> None:
        """Carry out a fault."""
        node = self._target(fault.target)
        if node is None or self._calmed:
            return
        if _STRIKES[fault.kind](self, node, fault):
            self._ensemble.count(fault.kind)
            self._ensemble.note(node.sid, f"{fault.kind} for {fault.for_us}")

    def calm(self) -> None:
        """End all faults; servers that are down restart at their time."""
        self._calmed = True
        network = self._ensemble.network
        blocked, self._blocked = self._blocked, []
        for directions in blocked:
            network.unblock(directions)
        network.slow = 1
        for node in self._ensemble.nodes.values():
            node.slow_disk = 1
            node.disk.space_bytes = None
            node.disk.fail_syncs = False
            node.disk.cut_before = None
            if node.paused:
                node.resume()

    def _target(self, target: int) -> "Node | None":
        nodes = self._ensemble.nodes
        if target != LEADER:
            return nodes.get(target)
        return self._ensemble.leader()

    # Servers.

    def _kill(self, node: "Node", fault: Fault) -> bool:
        return node.up and self._ensemble.kill(node, fault.for_us)

    def _cut_power(self, node: "Node", fault: Fault) -> bool:
        if not node.up or node.disk.cut_before is not None:
            return False
        if fault.amount % 4 == 0:
            self._ensemble.cut_power(node)
        else:  # at one of the next effects on its disk
            node.disk.cut_before = node.disk.effects + 1 + fault.amount % 13
        return True

    def _cut_all_power(self, node: "Node", fault: Fault) -> bool:
        for each in self._ensemble.nodes.values():
            if each.up:
                self._ensemble.cut_power(each)
        return True

    def _pause(self, node: "Node", fault: Fault) -> bool:
        if not node.up or node.paused:
            return False
        life = node.life
        node.pause()

        def resume() -> None:
            if node.life == life and node.paused:
                node.resume()

        self._ensemble.timeline.after(fault.for_us, resume)
        return True

    def _jump_clock(self, node: "Node", fault: Fault) -> bool:
        node.wall_offset_ms += (fault.amount - 32768) * 100
        return True

    # Disks.

    def _rot(self, node: "Node", fault: Fault) -> bool:
        """Flip bits of a file while the server is down, unless a committed txn could be left without a quorum."""
        ensemble = self._ensemble
        if not ensemble.ledger.intact_without(node.sid):
            return False
        if node.up:
            ensemble.kill(node, fault.for_us)
        disk = node.disk
        disk.revive()
        names = [name for name in disk.names() if name.startswith(("log.", "snapshot.")) and disk.read(name)]
        if not names:
            return False
        name = names[-1 - fault.amount % min(3, len(names))]
        size = len(disk.read(name))
        disk.flip(name, fault.amount * 7919 % size, 1 << fault.amount % 8)
        ensemble.ledger.rotted(node.sid)
        return True

    def _wipe(self, node: "Node", fault: Fault) -> bool:
        ensemble = self._ensemble
        if not ensemble.ledger.intact_without(node.sid):
            return False
        if node.up:
            ensemble.kill(node, fault.for_us)
        self.replace_disk(node)
        return True

    def replace_disk(self, node: "Node") -> None:
        """Give a server an empty disk with the marker `rejoin`, as an operator must."""
        node.disk.wipe()
        node.disk.create(REJOIN).close()
        node.disk.sync()
        self._ensemble.ledger.wiped(node.sid)

    def _fail_syncs(self, node: "Node", fault: Fault) -> bool:
        if not node.up:
            return False
        node.disk.fail_syncs = True
        return True

    def _fill_disk(self, node: "Node", fault: Fault) -> bool:
        disk = node.disk
        if not node.up or disk.space_bytes is not None:
            return False
        disk.space_bytes = 1 << 62
        disk.space_bytes -= disk.free_bytes() - fault.amount % 8000

        def freed() -> None:
            disk.space_bytes = None

        self._ensemble.timeline.after(fault.for_us * 2, freed)
        return True

    def _slow_disk(self, node: "Node", fault: Fault) -> bool:
        node.slow_disk = 2 + fault.amount % 300

        def over() -> None:
            node.slow_disk = 1

        self._ensemble.timeline.after(fault.for_us, over)
        return True

    # The network.

    def _partition(self, node: "Node", fault: Fault) -> bool:
        side = [sid for sid in self._ensemble.nodes if fault.amount >> sid & 1]
        other = [sid for sid in self._ensemble.nodes if not fault.amount >> sid & 1]
        return self._block([(a, b) for a in side for b in other] + [(b, a) for a in side for b in other], fault)

    def _partition_one_way(self, node: "Node", fault: Fault) -> bool:
        others = [sid for sid in self._ensemble.nodes if sid != node.sid]
        if fault.amount & 1:
            return self._block([(node.sid, other) for other in others], fault)
        return self._block([(other, node.sid) for other in others], fault)

    def _bridge(self, node: "Node", fault: Fault) -> bool:
        """Cut two servers off from each other; all others reach both."""
        others = [sid for sid in self._ensemble.nodes if sid != node.sid]
        if not others:
            return False
        other = others[fault.amount % len(others)]
        return self._block([(node.sid, other), (other, node.sid)], fault)

    def _isolate(self, node: "Node", fault: Fault) -> bool:
        """Cut a server off from everyone, clients included."""
        others = [site for site in self._ensemble.sites if site != node.sid]
        return self._block([(node.sid, o) for o in others] + [(o, node.sid) for o in others], fault)

    def _clog(self, node: "Node", fault: Fault) -> bool:
        sites = self._ensemble.sites if fault.amount & 1 << 13 else list(self._ensemble.nodes)
        others = [site for site in sites if site != node.sid]
        if not others:
            return False
        other = others[fault.amount % len(others)]
        return self._block([(node.sid, other) if fault.amount & 1 << 15 else (other, node.sid)], fault)

    def _block(self, directions: Directions, fault: Fault) -> bool:
        if not directions:
            return False
        network = self._ensemble.network
        network.block(directions)
        self._blocked.append(directions)
        if fault.amount & 1 << 14:  # the connections break at once, instead of standing still
            for near, far in network.streams():
                if (near.site, far.site) in directions or (far.site, near.site) in directions:
                    network.reset(near)

        def over() -> None:
            if directions in self._blocked:
                self._blocked.remove(directions)
                network.unblock(directions)

        self._ensemble.timeline.after(fault.for_us, over)
        return True

    def _delay(self, node: "Node", fault: Fault) -> bool:
        network = self._ensemble.network
        network.slow = 2 + fault.amount % 60

        def over() -> None:
            network.slow = 1

        self._ensemble.timeline.after(fault.for_us, over)
        return True

    def _reset(self, node: "Node", fault: Fault) -> bool:
        streams = self._ensemble.network.streams()
        if not streams:
            return False
        near, _ = streams[fault.amount % len(streams)]
        self._ensemble.network.reset(near)
        return True

    def _reset_votes(self, node: "Node", fault: Fault) -> bool:
        for sid in self._ensemble.nodes:
            if sid != node.sid:
                self._ensemble.election_links.reset(node.sid, sid)
        return True


_STRIKES: dict[str, Callable[[Nemesis, "Node", Fault], bool]] = {
    "kill": Nemesis._kill,
    "power cut": Nemesis._cut_power,
    "power cut of all": Nemesis._cut_all_power,
    "rot": Nemesis._rot,
    "failing sync": Nemesis._fail_syncs,
    "full disk": Nemesis._fill_disk,
    "slow disk": Nemesis._slow_disk,
    "pause": Nemesis._pause,
    "partition": Nemesis._partition,
    "one-way partition": Nemesis._partition_one_way,
    "bridge": Nemesis._bridge,
    "isolation": Nemesis._isolate,
    "clog": Nemesis._clog,
    "delay": Nemesis._delay,
    "reset": Nemesis._reset,
    "reset of votes": Nemesis._reset_votes,
    "clock jump": Nemesis._jump_clock,
    "wipe": Nemesis._wipe,
}
