"""Multi-Paxos: one Prepare for all slots makes a leader, which then needs one round trip per command.

Slots are independent of each other: slot 2 may be chosen before slot 1. Servers execute in the order of the slots. A
new leader asks a majority what it has accepted. It takes over what is marked as chosen, proposes what is not under its
own number, and fills holes with no-ops; `revote="all"` makes it propose the chosen entries again as well, as the
original protocol does. While a leader is heard of, the others stand for nothing and forward their clients' commands.

A server learns what is chosen from the next message of the leader, which says up to where all slots are chosen;
`notify="explicit"` sends each chosen entry at once.

Sources: Lamport, Paxos Made Simple (2001), section 3; Chandra and others, Paxos Made Live (2007).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from recipes.core.agree.epochs import NO_EPOCH, Epoch, epoch_of
from recipes.core.agree.machine import Machine, Place, State
from recipes.core.agree.register import NO_OP, Register, parent_of

LEASE_MS = 150
BEAT_MS = 40


class Server(Machine):
    """Proposer, acceptor and copy in one."""

    CALLS: ClassVar[Mapping[str, tuple[int, ...]]] = {"set": (2,), "get": (1,), "create": (1,)}
    HANDLERS: ClassVar[Mapping[str, str]] = {
        "PREPARE": "_prepare", "PROMISE": "_promise", "ACCEPT": "_accept", "ACCEPTED": "_accepted",
        "REFUSED": "_refused", "BEAT": "_beat", "CHOSEN": "_chosen", "LEARN": "_learn",
        "FORWARD": "_forward", "ANSWER": "_answer",
    }  # fmt: skip

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.others: tuple[str, ...] = tuple(each for each in place.sites["server"] if each != self.me)
        self.majority: int = (len(self.others) + 1) // 2 + 1
        self.role: str = "follower"
        self.ballot: Epoch = NO_EPOCH
        self.leader: str | None = None
        self.chosen: dict[int, Any] = {}
        self.executed: list[Any] = []
        self._register = Register()
        self._seen: Epoch = NO_EPOCH
        self._promises: dict[str, Mapping[str, Any]] = {}
        self._next = 1
        self._votes: dict[int, set[str]] = {}  # of each slot that the leader has proposed and that is not chosen
        self._proposed: dict[int, Any] = {}
        self._callers: dict[int, str] = {}  # the site of each call under way at the leader
        self._queue: list[tuple[int, list[Any], str]] = []  # calls that wait for a leader

    # What it keeps.

    def start(self) -> None:
        """Read what is chosen, and wait for a leader; `first_leader` stands at once when there never was one."""
        for key, value in self.stored.items():
            if key.startswith("chosen:"):
                self.chosen[int(key[7:])] = value
        self._seen = self.promised()
        self._execute()
        first = self.setting("first_leader", "s1") == self.me and self.promised() == NO_EPOCH
        self._wait_for_leader(0 if first else None)

    def describe(self) -> State:
        """Its role, and how far its log is chosen and executed."""
        shown = (
            ("chosen", tuple(sorted(self.chosen))),
            ("executed", tuple(self.executed)),
            ("values", tuple(sorted(self._register.values.items()))),
            ("orphans", tuple(self._register.orphans)),
        )
        last = max([0, *self.chosen, *self.accepted_from(1)])
        return State(self.role, self.ballot, self.leader, last, len(self.executed), len(self.executed), shown)

    def promised(self) -> Epoch:
        """The newest number that this server has promised."""
        return epoch_of(self.stored.get("promised"))

    def accepted_from(self, start: int) -> dict[int, tuple[Epoch, Any]]:
        """What this server has accepted, in the slots from `start` on."""
        found = {}
        for key, value in self.stored.items():
            if key.startswith("accepted:") and int(key[9:]) >= start:
                found[int(key[9:])] = (epoch_of(value[0]), value[1])
        return found

    # Clients.

    @classmethod
    def why_no_call(cls, operation: list[Any]) -> str:
        """Why `call` does not take this operation; empty if it does."""
        if operation[:1] == ["create"] and not all(isinstance(each, str) for each in operation):
            return f"{operation!r}: expected a path to create, such as /a"
        return super().why_no_call(operation)

    def call(self, number: int, operation: list[Any]) -> None:
        """["set", K, V], ["get", K], ["create", PATH]: the leader proposes it, others forward it."""
        if self.role != "leader" and self.leader is not None and self.leader != self.me:
            self.send(self.leader, "forward", "FORWARD", call=number, command=operation, caller=self.me)
        else:
            self._take(number, operation, self.me)

    def _forward(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._take(fields["call"], fields["command"], fields["caller"])

    def _take(self, number: int, operation: list[Any], caller: str) -> None:
        if self.role != "leader":
            self._queue.append((number, operation, caller))
            return
        self._callers[number] = caller
        if operation[0] == "create" and self.setting("propose", "commands") == "changes":
            under_way = {value[1][1] for value in self._proposed.values() if value[1][0] == "node"}
            if parent_of(operation[1]) not in self._register.nodes | under_way:
                self._tell(number, "fail", "no parent")
                return
            operation = ["node", operation[1]]
        self._propose(self._next, [number, operation])
        self._next += 1

    def _tell(self, number: int, outcome: str, value: Any) -> None:
        caller = self._callers.pop(number, None)
        if caller == self.me:
            self.reply(number, outcome, value)
        elif caller is not None:
            self.send(caller, "forward-reply", "ANSWER", call=number, outcome=outcome, value=value)

    def _answer(self, sender: str, fields: Mapping[str, Any]) -> None:
        self.reply(fields["call"], fields["outcome"], fields["value"])

    # Elections: one Prepare for all slots.

    def timer(self, name: str) -> None:
        """No leader is heard of, or it is time for a heartbeat."""
        if name == "suspect" and self.role != "leader":
            self._stand()
        elif name == "beat" and self.role == "leader":
            self._send_beat()

    def _wait_for_leader(self, delay_ms: int | None = None) -> None:
        lease_ms = self.setting("lease_ms", LEASE_MS)
        self.set_timer("suspect", lease_ms + self.place.below(lease_ms) if delay_ms is None else delay_ms)

    def choose_ballot(self) -> Epoch:
        """A number that is larger than all that were seen, and this server's own."""
        return (max(self._seen[0], self.promised()[0]) + 1, self.me)

    def _stand(self) -> None:
        self.role, self.leader, self._promises = "candidate", None, {}
        ballot = self.ballot = self.choose_ballot()
        start = 1 if self.setting("revote", "unconfirmed") == "all" else len(self.executed) + 1
        self._wait_for_leader()

        def ask() -> None:
            if self.role == "candidate" and self.ballot == ballot:
                for each in self.others:
                    self.send(each, "prepare", "PREPARE", epoch=ballot, start=start)
                self._count_promise(self.me, self._report(start))

        self.write("promised", ballot, ask)

    def _report(self, start: int) -> Mapping[str, Any]:
        accepted = [[slot, epoch, value] for slot, (epoch, value) in sorted(self.accepted_from(start).items())]
        chosen = [[slot, value] for slot, value in sorted(self.chosen.items()) if slot >= start]
        return {"epoch": self.promised(), "accepted": accepted, "chosen": chosen}

    def _prepare(self, sender: str, fields: Mapping[str, Any]) -> None:
        epoch = epoch_of(fields["epoch"])
        if epoch < self.promised():
            self.send(sender, "promise", "REFUSED", epoch=epoch, promised=self.promised())
            return
        self._step_down(epoch)
        self._wait_for_leader()

        def promise() -> None:
            if self.promised() == epoch:
                self.send(sender, "promise", "PROMISE", **self._report(fields["start"]))

        self.write("promised", epoch, promise)

    def _promise(self, sender: str, fields: Mapping[str, Any]) -> None:
        if self.role == "candidate" and epoch_of(fields["epoch"]) == self.ballot:
            self._count_promise(sender, fields)

    def _count_promise(self, sender: str, report: Mapping[str, Any]) -> None:
        self._promises[sender] = report
        if len(self._promises) == self.majority:
            self._lead()

    def _lead(self) -> None:
        self.role, self.leader = "leader", self.me
        self._votes, self._proposed = {}, {}
        self.set_timer("suspect", None)
        chosen, proposals = self.merge(list(self._promises.values()))
        for slot, value in chosen.items():
            self._mark(slot, value)
        again = {**self.chosen, **proposals} if self.setting("revote", "unconfirmed") == "all" else proposals
        self._next = max([0, *self.chosen, *proposals]) + 1
        for slot in range(1, self._next):
            if slot in again:
                self._propose(slot, again[slot])
            elif slot not in self.chosen:
                self._propose(slot, NO_OP)
        self._execute()
        queue, self._queue = self._queue, []
        for number, operation, caller in queue:
            self._take(number, operation, caller)
        self._send_beat()

    def merge(self, reports: list[Mapping[str, Any]]) -> tuple[dict[int, Any], dict[int, Any]]:
        """What a majority reports: what is chosen, and of all else the value with the largest number, by slot."""
        chosen = {slot: value for report in reports for slot, value in report["chosen"]}
        newest: dict[int, tuple[Epoch, Any]] = {}
        for report in reports:
            for slot, number, value in report["accepted"]:
                epoch = epoch_of(number)
                if slot not in chosen and slot not in self.chosen and epoch > newest.get(slot, (NO_EPOCH, None))[0]:
                    newest[slot] = (epoch, value)
        return chosen, {slot: value for slot, (_, value) in newest.items()}

    def _step_down(self, epoch: Epoch) -> None:
        """A larger number is about: whoever has it is, or will be, the leader."""
        self._seen = max(self._seen, epoch)
        if epoch > self.ballot and self.role != "follower":
            self.role, self.leader = "follower", None
            self._votes, self._proposed, self._callers = {}, {}, {}
            self.set_timer("beat", None)

    def _refused(self, sender: str, fields: Mapping[str, Any]) -> None:
        epoch = epoch_of(fields["promised"])
        leading = self.role == "leader"
        self._step_down(epoch)
        if leading and self.role == "follower":
            self._wait_for_leader()

    # Commands: Accept only.

    def _propose(self, slot: int, value: Any) -> None:
        self._proposed[slot] = value
        self._votes[slot] = set()
        ballot = self.ballot
        for each in self.others:
            self._send_accept(each, slot)

        def count() -> None:
            if self.role == "leader" and self.ballot == ballot:
                self._count(self.me, slot)

        self.write(f"accepted:{slot}", [ballot, value], count)

    def _send_accept(self, to: str, slot: int) -> None:
        value = self._proposed[slot]
        self.send(to, "accept", "ACCEPT", epoch=self.ballot, slot=slot, value=value, upto=len(self.executed))

    def _accept(self, sender: str, fields: Mapping[str, Any]) -> None:
        epoch, slot = epoch_of(fields["epoch"]), fields["slot"]
        if epoch < self.promised():
            self.send(sender, "accepted", "REFUSED", epoch=epoch, promised=self.promised())
            return
        if epoch > self.promised():
            self.write("promised", epoch)
        self._follow(sender, epoch, fields["upto"])
        self.write(
            f"accepted:{slot}",
            [epoch, fields["value"]],
            lambda: self.send(sender, "accepted", "ACCEPTED", epoch=epoch, slot=slot),
        )

    def _accepted(self, sender: str, fields: Mapping[str, Any]) -> None:
        if self.role == "leader" and epoch_of(fields["epoch"]) == self.ballot:
            self._count(sender, fields["slot"])

    def _count(self, voter: str, slot: int) -> None:
        votes = self._votes.get(slot)
        if votes is None:
            return
        votes.add(voter)
        if len(votes) >= self.majority:
            value = self._proposed.pop(slot)
            del self._votes[slot]
            self._mark(slot, value)
            if self.setting("notify", "next") == "explicit":
                for each in self.others:
                    self.send(each, "commit-notice", "CHOSEN", slot=slot, value=value)
            self._execute()

    # What is chosen.

    def _mark(self, slot: int, value: Any) -> None:
        if slot not in self.chosen:
            self.chosen[slot] = list(value)
            self.write(f"chosen:{slot}", list(value))

    def _execute(self) -> None:
        """Execute what is chosen, in order, up to the first hole."""
        while len(self.executed) + 1 in self.chosen:
            number, command = self.chosen[len(self.executed) + 1]
            self.executed.append(command)
            self._tell(number, *self._register.execute(command))

    def _send_beat(self) -> None:
        """Say that there is a leader, and send again what has no majority yet."""
        self.set_timer("beat", self.setting("beat_ms", BEAT_MS))
        for each in self.others:
            self.send(each, "heartbeat", "BEAT", epoch=self.ballot, upto=len(self.executed))
            if self.setting("beat_ms", BEAT_MS) and self._votes:
                for slot in [slot for slot, votes in self._votes.items() if each not in votes and self._again(slot)]:
                    self._send_accept(each, slot)

    def _again(self, slot: int) -> bool:
        """Whether a slot has been sent before this turn: its own vote is there."""
        return self.me in self._votes[slot]

    def _beat(self, sender: str, fields: Mapping[str, Any]) -> None:
        epoch = epoch_of(fields["epoch"])
        if epoch < self.promised():
            self.send(sender, "heartbeat-reply", "REFUSED", epoch=epoch, promised=self.promised())
        else:
            self._follow(sender, epoch, fields["upto"])

    def _follow(self, leader: str, epoch: Epoch, upto: int) -> None:
        """The leader of `epoch` has all slots up to `upto` chosen: mark what is surely the same, ask for the rest."""
        self._step_down(epoch)
        self.leader = leader
        self._wait_for_leader()
        accepted = self.accepted_from(len(self.executed) + 1)
        missing = []
        for slot in range(len(self.executed) + 1, upto + 1):
            if slot in accepted and accepted[slot][0] == epoch:
                self._mark(slot, accepted[slot][1])
            elif slot not in self.chosen:
                missing.append(slot)
        if missing:
            self.send(leader, "backfill", "LEARN", slots=missing)
        self._execute()
        queue, self._queue = self._queue, []
        for number, operation, caller in queue:
            self.send(leader, "forward", "FORWARD", call=number, command=operation, caller=caller)

    def _learn(self, sender: str, fields: Mapping[str, Any]) -> None:
        for slot in fields["slots"]:
            if slot in self.chosen:
                self.send(sender, "backfill", "CHOSEN", slot=slot, value=self.chosen[slot])

    def _chosen(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._mark(fields["slot"], fields["value"])
        self._execute()
