"""A whole ensemble and its clients in one thread under virtual time: one plan and one seed, one history.

Members, peers, logs, snapshots and recovery are the production code; only clocks, sockets and disks are simulated.
Safety is checked after every step. When the faults are over, the ensemble must recover, answer a write, end the
sessions that no client keeps alive, and have the same tree on every server.
"""

from collections import deque
from hashlib import sha256

from recipes.core.errors import InvariantBroken
from recipes.core.jute import opcodes as op
from recipes.core.member.config import MemberConfig
from recipes.core.protocols import DEFAULT
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.sim.chance import Sources, between
from recipes.core.sim.checks import Ledger
from recipes.core.sim.clients import Operation, SimClient
from recipes.core.sim.disk import SimDisk
from recipes.core.sim.election_links import ElectionLinks
from recipes.core.sim.faults import Nemesis
from recipes.core.sim.histories import Judge
from recipes.core.sim.network import Network, Side
from recipes.core.sim.node import Node
from recipes.core.sim.plan import Plan
from recipes.core.sim.protocols import SimulatedProtocol, find_simulated
from recipes.core.sim.surroundings import NodeSettings, Surroundings
from recipes.core.sim.timeline import Timeline

_CLIENTS = 100  # sites of clients are numbered from here
_PROBE = 99
_STEP_US = 50_000
_RECOVERY_US = 60_000_000
_KEPT_NOTES = 300


class Ensemble:
    """One run of a plan.

    `run()` carries out the whole plan. It raises InvariantBroken when a property does not hold.

    sources: makes the random source for each purpose. protocol: that the servers run; None: ZAB.
    halted: why a standalone server rightly refused its log, which ends the run; None otherwise.
    counts: how often each thing happened. packets, states: how often servers sent each type of packet, and each state
        in a notification. trace: a digest of everything that happened, in order. notes: the last events, as text.
    """

    def __init__(self, plan: Plan, sources: Sources, protocol: SimulatedProtocol | None = None) -> None:
        self.plan = plan
        simulated = protocol or find_simulated(DEFAULT)
        self._protocol = simulated.protocol
        self.counts: dict[str, int] = {}
        self.packets: dict[str, int] = {}
        self.states: dict[str, int] = {}
        self.notes: deque[str] = deque(maxlen=_KEPT_NOTES)
        self.recovered_us: int = -1
        self.halted: str | None = None
        self._trace = sha256()
        self._restarts = sources("restarts")
        self.timeline: Timeline = Timeline(sources("schedule"))
        self.network: Network = Network(self.timeline, sources("network"), plan.delay_us, plan.cut_probability)
        self.network.listener = self._listen
        self.election_links: ElectionLinks = ElectionLinks(self.timeline, self.network, sources("votes"), self._notify)
        sids = range(1, plan.voters + plan.observers + 1)
        servers = [
            QuorumServer(
                sid=sid, host=f"s{sid}", quorum_port=2888, election_port=3888, observer=sid > plan.voters, client=""
            )
            for sid in sids
        ]
        membership = None if plan.alone else Membership(servers)
        self.ledger: Ledger = Ledger({sid: sid <= plan.voters for sid in sids}, reuses_zxids=plan.alone)
        if not plan.alone:
            self.ledger.rules = simulated.rules(self.ledger, self.packets, self.states)
        around = Surroundings(
            self.timeline, self.network, self.election_links, self.ledger, self.count, self.note, self._ended
        )
        self.nodes: dict[int, Node] = {
            sid: Node(
                self._settings(sid, membership),
                around,
                sources(f"server {sid}"),
                SimDisk(sources(f"disk {sid}"), in_order=plan.in_order),
            )
            for sid in sids
        }
        for rate_pm in plan.rates_pm:
            if rate_pm != 1000:
                self.count("clock drift")
        self.judge: Judge = Judge(self.ledger.reference)
        self.clients: list[SimClient] = [
            SimClient(
                _CLIENTS + number, self.timeline, self.network, sources(f"client {number}"), self.ledger, self.judge,
                list(sids), plan.timeout_ms, self.count, self._leader_sid,
            )
            for number in range(plan.clients)
        ]  # fmt: skip
        self.sites: list[int] = [*sids, *(client.site for client in self.clients)]
        self._orphans: dict[int, list[Side]] = {}
        self.nemesis: Nemesis = Nemesis(self)
        self._sources = sources
        for node in self.nodes.values():
            self.timeline.after(between(self._restarts, 0, 200_000), self._start, node, node.life)
        for client in self.clients:
            client.start()
        for operation in plan.operations:
            self.timeline.at(operation.at_us, self._act, operation)
        for fault in plan.faults:
            self.timeline.at(fault.at_us, self.nemesis.strike, fault)

    def _settings(self, sid: int, membership: Membership | None) -> NodeSettings:
        plan = self.plan
        member = MemberConfig(
            tick_ms=plan.tick_ms, min_session_timeout_ms=2 * plan.tick_ms, max_session_timeout_ms=60_000,
            container_check_ms=plan.container_check_ms, container_never_used_ms=plan.container_never_used_ms,
            extended_types=True, server_id=sid,
        )  # fmt: skip
        protocol = None if membership is None else self._protocol
        return NodeSettings(
            sid, protocol, membership, plan.tick_ms, plan.init_limit, plan.sync_limit, member, plan.rates_pm[sid - 1],
            plan.snap_count, plan.flush_us,
        )  # fmt: skip

    # Running.

    @property
    def trace(self) -> str:
        """A digest of everything that happened, in order."""
        return self._trace.hexdigest()

    def all_counts(self) -> dict[str, int]:
        """All counts: of events, fates of writes, packets and states; and of containers that servers removed."""
        found = dict(self.counts)
        if removed := sum(txn.kind == op.DELETE_CONTAINER for txn in self.ledger.reference.order):
            found["container removed"] = removed
        for node in self.nodes.values():
            for fate, count in node.disk.fates.items():
                found[fate] = found.get(fate, 0) + count
        return found | self.packets | self.states

    @property
    def events(self) -> int:
        """How many events happened."""
        return self.timeline.events

    def run(self) -> None:
        """Carry out the plan, then recover."""
        self.timeline.run_until(self.plan.end_us)
        if self.halted is None:
            self.recover()

    def recover(self) -> None:
        """End all faults, and wait until the ensemble has recovered. Raises InvariantBroken if that takes too long."""
        self.nemesis.calm()
        self.note(0, "calm")
        probe = SimClient(
            _PROBE, self.timeline, self.network, self._sources("probe"), self.ledger, self.judge, list(self.nodes),
            self.plan.timeout_ms, self.count, self._leader_sid,
        )  # fmt: skip
        self.clients.append(probe)
        probe.start()
        probe.act(Operation(0, 0, "create sequential", 0, 1 << 30, False))
        began_us = self.timeline.now_us
        while (missing := self.missing()) is not None:
            if self.timeline.now_us - began_us > _RECOVERY_US:
                raise InvariantBroken(f"L1 not recovered after {_RECOVERY_US // 1_000_000} s: {missing}")
            self.timeline.run_until(self.timeline.now_us + _STEP_US)
        self.recovered_us = self.timeline.now_us - began_us
        self.note(0, "recovered")
        self._stay_quiet(probe)

    def _stay_quiet(self, gone: SimClient) -> None:
        """Check that without faults only the session that no client keeps alive ends, and in time."""
        # A client whose connection is broken may notice it too late, and connect again too late: the faults' work.
        session_id, connected = gone.session_id, [client for client in self.clients if client.is_connected]
        expired = sum(client.expired for client in connected)
        gone.active = False
        gone.leave()
        plan = self.plan
        limit_us = plan.timeout_ms * 1060 + plan.tick_ms * 2000 + 500_000
        self.timeline.run_until(self.timeline.now_us + limit_us)
        if session_id in self.ledger.reference.tree.sessions:
            raise InvariantBroken(f"E2 session 0x{session_id:x} has not ended {limit_us // 1000} ms after its client")
        # If messages take longer than the margin of `ZabPeer.in_touch`, a server may disconnect a client that pings,
        # and the session may end before the client is connected again.
        in_time = plan.delay_us <= (plan.timeout_ms - plan.tick_ms) * 1000 // 6
        if in_time and sum(client.expired for client in connected) != expired:
            raise InvariantBroken("E1 a session that was kept alive has ended")

    def missing(self) -> str | None:
        """Why the ensemble has not recovered yet; None once it has."""
        for node in self.nodes.values():
            if not node.up:
                return f"server {node.sid} is down: {node.why_down}"
            if not node.member.serving:
                return f"server {node.sid} is {node.peer.role}: {node.peer.why_looking}"
        for client in self.clients:
            if not client.idle:
                return f"client {client.site} waits for an answer"
            if not client.connected:
                return f"client {client.site} has no session"
        ended = {session for client in self.clients for session in client.abandoned}
        for session in self.ledger.reference.tree.sessions:
            if session in ended:
                return f"session 0x{session:x} has not ended"
        states = {(node.member.tree.last_zxid, node.member.tree.digest) for node in self.nodes.values()}
        if len(states) > 1 or next(iter(states))[0] != self.ledger.tip:
            return "the servers' trees are not the same"
        for node in self.nodes.values():
            self.ledger.reference.compare(node.sid, node.member.tree)
        return None

    def leader(self) -> Node | None:
        """The leader; the one with the latest epoch if an older leader has not noticed yet that it was replaced."""
        leading = [node for node in self.nodes.values() if node.up and node.member.serving and node.peer.leader]
        return max(leading, key=_epoch, default=None)

    def _leader_sid(self) -> int:
        """The server whose replies keep sessions alive; 0 if there is none.

        A leader that stood still may answer before it notices that it was replaced. Its successor hears nothing.
        """
        leader = self.leader()
        if leader is None or _epoch(leader) < max(self.ledger.leaders, default=0):
            return 0
        return leader.sid

    # What happens.

    def count(self, what: str) -> None:
        """Count one occurrence of `what`."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def note(self, site: int, what: str) -> None:
        """Add an event to the trace and to `notes`."""
        line = f"{self.timeline.now_us / 1000:.3f} {site}: {what}"
        self._trace.update(line.encode())
        self._trace.update(b" %d\n" % self.timeline.events)
        self.notes.append(line)

    def _act(self, operation: Operation) -> None:
        self.clients[operation.client].act(operation)

    def _listen(self, callee: int, caller: int, what: str):  # type: ignore[no-untyped-def]
        node = self.nodes.get(callee)
        return None if node is None else node.listen(caller, what)

    def _notify(self, receiver: int, sender: int, data: bytes) -> None:
        node = self.nodes[receiver]
        node.take(node.notified, sender, data)

    def kill(self, node: Node, down_us: int) -> bool:
        """Kill a server's process, and start it again later; everything it has written survives."""
        node.stop("killed")
        for side in self.network.sides_of(node.sid):
            side.close()
        self.timeline.after(down_us, self._revive, node, node.life)
        return True

    def cut_power(self, node: Node) -> None:
        """Cut the power of a server's machine."""
        node.disk.cut_power()
        node.stop("power")
        self._ended(node, "power")

    def _ended(self, node: Node, why: str) -> None:
        """A server's process has ended by itself, or with its power."""
        down_us = between(self._restarts, 20_000, 1_000_000)
        if why.startswith("damage"):
            if self.plan.alone and not self.plan.in_order:
                # A batch torn by sectors can leave a bad record before a good one. Neither was acknowledged, but on
                # disk this looks like rot, and a standalone server refuses to start on it.
                self.count("halt")
                self.halted = why
                return
            if not self.ledger.shadows[node.sid].damaged:
                raise InvariantBroken(f"Z14 server {node.sid} refuses its own log: {why}")
            self.count("halt")
            self.timeline.after(down_us, self._replace, node, node.life)
            return
        if why == "power":
            self._orphans.setdefault(node.sid, []).extend(self.network.vanish(node.sid))
        else:
            self.count("end by disk")
            for side in self.network.sides_of(node.sid):
                side.close()
        self.timeline.after(down_us, self._restart, node, node.life)

    def _replace(self, node: Node, life: int) -> None:
        if node.life == life and not node.up:
            self.nemesis.replace_disk(node)
            self._start(node, life)

    def _revive(self, node: Node, life: int) -> None:
        if node.life == life and not node.up:
            node.disk.revive()
            self._start(node, life)

    def _restart(self, node: Node, life: int) -> None:
        """Start the machine again; writes that a failing disk had not made durable are gone too."""
        if node.life == life and not node.up:
            node.disk.fail_syncs = False
            node.disk.restart()
            self._start(node, life)

    def _start(self, node: Node, life: int) -> None:
        if node.life == life and not node.up:
            self.network.disown(self._orphans.pop(node.sid, []))
            node.start()


def _epoch(node: Node) -> int:
    return node.peer.epoch
