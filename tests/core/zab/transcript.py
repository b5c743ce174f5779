"""Plays a transcript: a text with commands for the servers of a Rig, and below each command what the servers did.

A line at the margin is a command, an indented line is its result, `#` begins prose. Commands:

    servers VOTERS [OBSERVERS]          servers 1 to VOTERS, and observers after them; the first command
    disk SID [ZXID[-ZXID]...] [accepted EPOCH] [current EPOCH]    what a server finds on its disk when it starts
    elect LEADER [SID...]               tell these servers, or all that look for a leader, that it is elected
    look TO SID...                      these servers tell TO, at its election port, that they look for a leader
    propose LEADER [COUNT]              clients of the leader write
    deliver [ROUNDS]                    packets are delivered and disks work, for ROUNDS rounds or until nothing moves
    tick [COUNT]                        so many ticks pass
    stuck SID..., unstuck SID...        their disks stop answering; answer again
    cut SID SID                         the connection between two servers breaks
    crash SID..., restart SID...        a server loses everything but its disk; it starts again from its disk
    status                              one line about each server
    quietly COMMAND                     the command, without showing its result

In a round each server first sends its messages, and then makes its writes. Pings are not shown.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from itertools import islice

from recipes.core.disk.jobs import Batch, Job, OperationJob
from recipes.core.jute import quorum as q
from recipes.core.jute.quorum import Packet
from recipes.core.jute.votes import LOOKING
from recipes.core.replication import Cell, InstallSnapshot, Operation, Truncate
from recipes.core.zab.peer import RecoveredState
from tests.core.zab.conftest import TICK_MS, Node, Rig, entry_of

_INDENT = "    "
_OF_AN_EPOCH = (q.LEADERINFO, q.NEWLEADER, q.FOLLOWERINFO, q.OBSERVERINFO)


class BadTranscript(Exception):
    """A command that cannot be carried out."""


class Servers:
    """Carries out commands. rig_of: makes the rig. told: lines about everything since the last command."""

    def __init__(self, rig_of: Callable[..., Rig]) -> None:
        self._rig_of = rig_of
        self._rig: Rig | None = None
        self._states: dict[int, str] = {}
        self.told: list[str] = []

    def carry_out(self, command: str) -> list[str]:
        """Carry out a command, and return its result in lines. Raises BadTranscript."""
        name, *words = command.split()
        if name == "quietly" and words:
            self.carry_out(" ".join(words))
            return []
        method = getattr(self, f"do_{name}", None)
        if method is None:
            known = sorted(each.removeprefix("do_") for each in (*dir(self), "do_quietly") if each.startswith("do_"))
            raise BadTranscript(f"unknown command {name!r}: expected one of {', '.join(known)}")
        given = words if name == "disk" else [_number(word) for word in words]
        try:
            signature(method).bind(*given)
        except TypeError as error:
            raise BadTranscript(f"{error}: see the list of commands in {__name__}") from None
        self.told = []
        method(*given)
        return self.told

    @property
    def rig(self) -> Rig:
        if self._rig is None:
            raise BadTranscript("no servers yet: expected 'servers 3' as the first command")
        return self._rig

    def do_servers(self, voters: int, observers: int = 0) -> None:
        if self._rig is not None:
            raise BadTranscript("there are servers already")
        rig = self._rig = self._rig_of(voters=voters, observers=observers)
        step = rig.step

        def observed() -> bool:
            busy = step()
            self._look()
            return busy

        rig.step = observed  # type: ignore[method-assign]
        for sid in rig.nodes:
            self._start(sid, RecoveredState())

    def do_disk(self, sid: str, *words: str) -> None:
        self._node(_number(sid))
        rest, zxids, epochs = list(words), [], {"accepted": 0, "current": 0}
        while rest:
            word = rest.pop(0)
            if word in epochs:
                if not rest:
                    raise BadTranscript(f"{word}: expected an epoch behind it")
                epochs[word] = _number(rest.pop(0))
            else:
                first, _, last = word.partition("-")
                zxids += range(_zxid(first), _zxid(last or first) + 1)
        base_zxid = zxids[0] - 1 if zxids and zxids[0] & 0xFFFFFFFF > 1 else 0
        accepted = max(epochs.values())
        self._start(
            _number(sid), RecoveredState(accepted, epochs["current"], base_zxid, [entry_of(zxid) for zxid in zxids])
        )

    def do_elect(self, leader: int, *sids: int) -> None:
        self._node(leader)
        up = [sid for sid in self.rig.nodes if sid not in self.rig.down]
        for sid in sids:
            if self._state(self._node(sid, up=True)) != "looks":
                raise BadTranscript(f"server {sid} has a leader")
        told = sids or [sid for sid in up if self._state(self.rig[sid]) == "looks"]
        if not told:
            raise BadTranscript("no server looks for a leader")
        self.rig.elect(leader, *told)
        self._look()

    def do_look(self, to: int, *sids: int) -> None:
        for sid in sids:
            self.rig.vote(sid, to, LOOKING, 2)

    def do_propose(self, leader: int, count: int = 1) -> None:
        node = self._node(leader, up=True)
        if node.peer.leader is None or not node.peer.serving:
            raise BadTranscript(f"server {leader} does not lead")
        self.rig.propose(leader, count)

    def do_deliver(self, rounds: int = 0) -> None:
        if rounds:
            for _ in range(rounds):
                self.rig.step()
        else:
            self.rig.run()

    def do_tick(self, count: int = 1) -> None:
        self.rig.advance(count * TICK_MS)

    def do_stuck(self, *sids: int) -> None:
        for node in [self._node(sid, up=True) for sid in sids]:
            node.disk_stuck = True

    def do_unstuck(self, *sids: int) -> None:
        for node in [self._node(sid, up=True) for sid in sids]:
            node.disk_stuck = False

    def do_cut(self, one: int, other: int) -> None:
        self._node(one, up=True), self._node(other, up=True)
        if {one, other} not in [{owner, end} for (owner, _), (end, link) in self.rig.pairs.items() if not link.closed]:
            raise BadTranscript(f"servers {one} and {other} are not connected")
        self.rig.cut(one, other)
        self._look()

    def do_crash(self, *sids: int) -> None:
        for node in [self._node(sid, up=True) for sid in sids]:
            if any(isinstance(write, Truncate | InstallSnapshot) for write in node.waiting):
                raise BadTranscript(f"server {node.sid} replaces a part of its log: let that end first")
            self.rig.kill(node.sid)
            node.waiting.clear()
        self._look()

    def do_restart(self, *sids: int) -> None:
        for node in [self._node(sid) for sid in sids]:
            if node.sid not in self.rig.down:
                raise BadTranscript(f"server {node.sid} has not crashed")
            peer = node.peer
            entries = [entry for entry in peer.history.behind(0) if entry.zxid <= peer.flushed_zxid]
            self._start(
                node.sid,
                RecoveredState(peer.accepted_epoch, peer.current_epoch, max(peer.history.base_zxid, 0), entries),
            )

    def do_status(self) -> None:
        for node in self.rig.nodes.values():
            peer = node.peer
            state = "is down" if node.sid in self.rig.down else self._state(node)
            if state.startswith(("leads", "follows")):
                state += f" in epoch {peer.epoch}" if peer.serving else " and does not serve yet"
            self.told.append(
                f"{node.sid} {state}: log to 0x{peer.flushed_zxid:x}, applied to 0x{peer.applied_zxid:x}, "
                f"accepted {peer.accepted_epoch}, current {peer.current_epoch}"
            )

    def _node(self, sid: int, up: bool = False) -> Node:
        if sid not in self.rig.nodes:
            raise BadTranscript(f"no server {sid}: expected 1 to {len(self.rig.nodes)}")
        if up and sid in self.rig.down:
            raise BadTranscript(f"server {sid} has crashed")
        return self.rig[sid]

    def _start(self, sid: int, boot: RecoveredState) -> None:
        rig = self.rig
        if self._states.get(sid, "looks") != "looks" and sid not in rig.down:
            raise BadTranscript(f"server {sid} has a leader")
        for pair in [pair for pair, (other, _) in rig.pairs.items() if sid in (pair[0], other)]:
            del rig.pairs[pair]
        rig.readers = {pair: reader for pair, reader in rig.readers.items() if pair[0] != sid}
        rig.down.discard(sid)
        rig.nodes[sid] = _ToldNode(self, sid, rig, boot)
        self._states[sid] = "looks"

    def _state(self, node: Node) -> str:
        peer = node.peer
        if peer.leader is not None:
            return "leads"
        return f"follows {peer.learner.leader_sid}" if peer.learner is not None else "looks"

    def _look(self) -> None:
        """Add lines about what is new at each server, in the order of a round."""
        for node in self.rig.nodes.values():
            assert isinstance(node, _ToldNode)
            node.tell_news()
            state = self._state(node)
            if state != self._states[node.sid] and node.sid not in self.rig.down:
                self._states[node.sid] = state
                why = f" for a leader: {node.peer.why_looking}" if state == "looks" else ""
                self.told.append(f"{node.sid} {state}{why}")


class _ToldNode(Node):
    """A server of the rig that adds a line for each write, packet, applied txn and change of role."""

    def __init__(self, servers: Servers, sid: int, rig: Rig, boot: RecoveredState) -> None:
        super().__init__(rig, sid, boot)
        self._rig = rig
        self._servers = servers
        self._seen = {"sent": 0, "applied": 0, "changes": 0, "notes": 0}

    def finish(self, job: Job) -> None:
        self.tell_news()  # what it has sent by now went out before this write
        super().finish(job)
        if isinstance(job, Batch):
            self._servers.told += [f"{self.sid} writes 0x{entry.zxid:x}" for entry in job.entries]
        elif isinstance(job, OperationJob):
            self._servers.told.append(f"{self.sid} {_done(job.operation)}")

    def tell_news(self) -> None:
        told, sid = self._servers.told, self.sid
        for other, packet in self._new("sent"):
            if packet.type != q.PING:
                lost = " (lost)" if other in self._rig.down else ""
                told.append(f"{sid} > {other} {_shown(packet)}{lost}")
        told += [f"{sid} notes: {text}" for text in self._new("notes")]
        told += [f"{sid} applies 0x{zxid:x}" for zxid in self._new("applied")]
        for serves in self._new("changes"):
            told.append(f"{sid} serves in epoch {self.peer.epoch}" if serves else f"{sid} serves no more")

    def _new(self, what: str) -> list:
        found = getattr(self, what)
        new = list(islice(found, self._seen[what], None))
        self._seen[what] = len(found)
        return new


def _done(operation: Operation) -> str:
    if isinstance(operation, Cell):
        return f"stores {operation.name} {operation.value.decode()}"
    if isinstance(operation, Truncate):
        return f"cuts its log behind 0x{operation.zxid:x}"
    return f"installs the snapshot of 0x{operation.zxid:x}"


def _shown(packet: Packet) -> str:
    name = q.packet_name(packet.type)
    if packet.type in _OF_AN_EPOCH:
        return f"{name} epoch {packet.zxid >> 32}"
    if packet.type == q.ACKEPOCH:
        epoch = q.decode_epoch(packet.data)
        return f"{name} log to 0x{packet.zxid:x}, " + (f"current {epoch}" if epoch >= 0 else "promised before")
    return name if packet.zxid == -1 else f"{name} 0x{packet.zxid:x}"


def _number(word: str) -> int:
    if not word.isdecimal():
        raise BadTranscript(f"{word!r}: expected a number")
    return int(word)


def _zxid(word: str) -> int:
    try:
        return int(word, 16)
    except ValueError:
        raise BadTranscript(f"{word!r}: expected a zxid such as 0x100000001, or two with '-' between") from None


def play(text: str, rig_of: Callable[..., Rig], name: str = "transcript") -> str:
    """The transcript with the new result below each command. Raises BadTranscript, with the line."""
    servers, lines = Servers(rig_of), []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(" "):
            continue  # the old result
        lines.append(line)
        if line and not line.startswith("#"):
            try:
                lines += [_INDENT + told for told in servers.carry_out(line)]
            except BadTranscript as error:
                raise BadTranscript(f"{name}:{number}: {line!r}: {error}") from None
    return "\n".join(lines) + "\n"
