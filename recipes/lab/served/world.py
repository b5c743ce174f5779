"""A run of the servers themselves: Member, tree, log and recovery, as they serve, on the simulator's network and disks.

A run begins with the servers' first start. Unless the scenario is about that, its script begins once they serve and
its clients are connected; the note `ready` says so, and figures count from there.
"""

from collections.abc import Mapping
from typing import Any

from recipes.core.errors import BadArguments
from recipes.core.member.config import MemberConfig
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.sim.chance import Sources
from recipes.core.sim.disk import SimDisk
from recipes.core.sim.election_links import ElectionLinks
from recipes.core.sim.network import Side
from recipes.core.sim.node import Node
from recipes.core.sim.surroundings import NodeSettings, Surroundings
from recipes.lab.course import Course
from recipes.lab.figures import READY
from recipes.lab.scenario import Scenario
from recipes.lab.served.client import Client, path_of, why_no_call
from recipes.lab.served.describe import describe
from recipes.lab.served.disks import Fate, fill
from recipes.lab.served.protocol import Replaced, ServedProtocol
from recipes.lab.served.silence import Silence
from recipes.lab.served.site import Server, ServerSite
from recipes.lab.served.tracer import Tracer
from recipes.lab.served.wires import CLIENTS, Wires

_BOOT_LIMIT_US = 30_000_000
_LOOK_US = 5_000
_RETRY_US = 5_000  # of the election port's connections: a server of the same rack answers soon
_QUIET_US = 20_000


class ServedWorld(Course):
    """One run of a scenario.

    kinds: of each server, by name. replaced: classes with a planted bug, by the right ones.
    """

    def __init__(
        self,
        scenario: Scenario,
        kinds: Mapping[str, str],
        protocol: ServedProtocol,
        replaced: Replaced,
        sources: Sources,
    ) -> None:
        super().__init__(scenario, sources)
        settings = scenario.settings
        self._numbers = {name: number for number, name in enumerate(kinds, 1)}
        self._protocol, self._made = protocol, protocol.make(settings, replaced)
        self.names: dict[str, tuple[str, ...]] = {
            kind: tuple(name for name, of in kinds.items() if of == kind) for kind in dict.fromkeys(kinds.values())
        }
        self.wires: Wires = Wires(self.timeline, sources, self._numbers, scenario.delay_us, scenario.delays_us)
        self.wires.loss = scenario.loss
        self.tracer: Tracer = Tracer(self, protocol)
        self.wires.recorder = self.tracer
        self.wires.deliver_now = self.tracer.deliver
        self.wires.listener = self._listen
        self._elections = ElectionLinks(self.timeline, self.wires, sources("votes"), self.notify, _RETRY_US)
        self._elections.recorder = self.tracer
        membership = Membership(
            QuorumServer(number, name, 2888, 3888, observer=kinds[name] == "observer")
            for name, number in self._numbers.items()
        )
        around = Surroundings(
            self.timeline, self.wires, self._elections, Silence(dict.fromkeys(self._numbers.values(), True)),
            _ignore, _ignore, self._ended, self.tracer,
        )  # fmt: skip
        self._tick_ms = settings.get("tick_ms", 100)
        self._servers: dict[str, ServerSite] = {}
        for name, number in self._numbers.items():
            fate = Fate(sources(f"disk {name}"))
            about = self._node_settings(number, membership, scenario.sync_us_of(name))
            node = Server(about, around, sources(f"server {name}"), replaced.get(SimDisk, SimDisk)(fate))
            self._servers[name] = ServerSite(self, name, kinds[name], node, fate)
            logged, stored = settings.get("logs", {}).get(name), settings.get("stored", 0)
            fill(node.disk, self._made, protocol.cells, logged, stored, name)
        self._clients: dict[str, Client] = {}
        self._calls: dict[int, tuple[str, int]] = {}  # number -> site and event
        self._booting = settings.get("boot", True)

    def _node_settings(self, number: int, membership: Membership, sync_us: tuple[int, int]) -> NodeSettings:
        settings, tick_ms = self.scenario.settings, self._tick_ms
        member = MemberConfig(
            tick_ms=tick_ms, min_session_timeout_ms=2 * tick_ms, max_session_timeout_ms=60_000, server_id=number
        )
        return NodeSettings(
            number, self._made, membership, tick_ms, settings.get("init_limit", 10), settings.get("sync_limit", 4),
            member, 1000, settings.get("snap_count", 100_000), sync_us[1] - sync_us[0] + 1, turn_us=1,
            flush_least_us=sync_us[0],
        )  # fmt: skip

    @property
    def sites(self) -> Mapping[str, ServerSite]:
        """All servers, by name."""
        return self._servers

    @property
    def links(self) -> Wires:
        """What connects the servers."""
        return self.wires

    # Running.

    def run(self, most_events: int | None = None) -> None:
        """Run to the end, or for so many events."""
        if not self._booting:
            self.begin()
        else:
            for site in self._servers.values():
                site.start()
            self.timeline.at(_BOOT_LIMIT_US, self._boot_failed)
            self._look()
        self.play(most_events)

    def _look(self) -> None:
        """Wait until all serve, then until clients and registers are there, then until it is quiet."""
        if all(site.node.up and site.node.member.serving for site in self._servers.values()):
            self._connect_clients()
        else:
            self.timeline.after(_LOOK_US, self._look)

    def _connect_clients(self) -> None:
        first: dict[str, str] = {}
        registers: dict[str, None] = {}
        for step in self.scenario.steps:
            if step["then"] == "call":
                first.setdefault(step.get("client", "c1"), step["target"])
                name = step["op"][1] if len(step["op"]) > 1 else "/"
                if not str(name).startswith("/"):
                    registers[str(name)] = None
        for client, target in first.items():
            found = self.script.resolve(target)
            if client not in self.scenario.settings.get("late", []):
                self._client(client).connect(self._numbers[found[0]] if found else 1)
        self._prepare(list(registers))

    def _prepare(self, registers: list[str]) -> None:
        leader = self.leader()
        if not self._all_connected() or leader is None:
            self.timeline.after(_LOOK_US, self._prepare, registers)
            return
        for name in registers:
            self._client("boot").call(0, self._numbers[leader], ["create", path_of(name).decode(), "0"])
        self._wait_quiet(registers, 0)

    def _all_connected(self) -> bool:
        return all(client.ready for client in self._clients.values())

    def _wait_quiet(self, registers: list[str], since_us: int) -> None:
        """The same tree at all servers, and nothing under way, for a moment."""
        trees = {
            (site.node.member.tree.last_zxid, site.node.peer.status().last_zxid) for site in self._servers.values()
        }
        made = all(site.node.member.tree.find(path_of(name)) for site in self._servers.values() for name in registers)
        quiet = len(trees) == 1 and all(one == other for one, other in trees) and made and self._all_connected()
        if not quiet:
            since_us = 0
        elif not since_us:
            since_us = self.timeline.now_us
        if quiet and self.timeline.now_us - since_us >= _QUIET_US:
            self.cause = None
            self.record("", "note", text=READY)
            self.begin()
        else:
            self.timeline.after(_LOOK_US, self._wait_quiet, registers, since_us)

    def _boot_failed(self) -> None:
        if not any(event["k"] == "note" and event.get("text") == READY for event in self.events):
            self.waits_for = "its servers to serve"
            self._stop()

    # What the tracer and the sites ask.

    def name_of(self, sid: int) -> str:
        """The name of a server."""
        return list(self._numbers)[sid - 1]

    def site_of(self, sid: int) -> ServerSite:
        """A server."""
        return self._servers[self.name_of(sid)]

    def describe(self, sid: int) -> dict[str, Any] | None:
        """What a server says of itself; None while it is down."""
        node = self.site_of(sid).node
        return describe(node.peer, node.member.tree, self._protocol, self.name_of) if node.up else None

    def why_gone(self, sid: int) -> str:
        """Why a message does not arrive at a server."""
        return "the connection is gone" if self.site_of(sid).node.up else "down"

    def notify(self, receiver: int, sender: int, frame: bytes) -> None:
        """A notification arrives."""
        node = self.site_of(receiver).node
        node.take(node.notified, sender, frame)

    def hasten_note(self, sender: int, receiver: int) -> None:
        """Let the oldest notification on its way from one server to another arrive now."""
        self._elections.hasten(sender, receiver)

    def end_connections(self, node: Node, *, silently: bool) -> None:
        """A server is down: its connections end. silently: the others notice nothing by themselves."""
        if silently:
            self.site_of(node.sid).orphans += self.wires.vanish(node.sid)
        else:
            for side in self.wires.sides_of(node.sid):
                side.close()

    def disown(self, orphans: list[Side]) -> None:
        """A server is back, and does not know these connections."""
        for side in orphans:
            side.sever()

    def _listen(self, callee: int, caller: int, what: str) -> Any:
        return self.site_of(callee).node.listen(caller, what)

    def _ended(self, node: Node, why: str) -> None:
        self.site_of(node.sid).fell(why)

    # Calls.

    def call(self, site: str, client: str, operation: list[Any], label: str) -> None:
        """A client at this site asks for something. Raises BadArguments if servers take no such call."""
        if why := why_no_call(operation):
            raise BadArguments("", f"a call at {site}: {why}")
        number, event = self.open_call(site, client, operation, label)
        self._calls[number] = site, event
        if not self._servers[site].running:
            self.reply(site, number, "fail", "down")
            return
        self._client(client).call(number, self._numbers[site], operation)

    def event_of(self, call: int) -> int | None:
        """The event of a call."""
        return self._calls[call][1] if call in self._calls else None

    def answer(self, client: Client, call: int, outcome: str, value: Any, **more: Any) -> None:
        """A call has its answer. more: zxid, of a reply that came from a server."""
        if call in self._calls:
            site = self._calls[call][0]
            self.cause = self.tracer.reply_cause(client.site)
            self.reply(site, call, outcome, value, **more)
            self.cause = None

    def note(self, sid: int, text: str) -> None:
        """A client hears something from a server."""
        self.cause = None
        self.record(self.name_of(sid) if sid else "", "note", text=text)

    def client_ready(self) -> None:
        """A client has a session."""

    def ended_site(self, site: str) -> None:
        """The clients of a site notice by themselves."""

    def leader(self) -> str | None:
        """The running server that leads; of several, the one with the newest epoch."""
        leading = [
            site for site in self._servers.values()
            if site.running and site.node.member.serving and site.node.peer.leader is not None
        ]  # fmt: skip
        return max(leading, key=lambda site: site.node.peer.epoch).name if leading else None

    def _client(self, name: str) -> Client:
        client = self._clients.get(name)
        if client is None:
            timeout_ms = self.scenario.settings.get("session_ms", 40_000)
            client = Client(self, name, CLIENTS + len(self._clients), timeout_ms)
            self._clients[name] = client
        return client


def _ignore(*arguments: Any) -> None:
    """Nobody asks."""
