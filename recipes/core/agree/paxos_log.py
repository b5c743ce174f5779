"""A log in which a Paxos of its own decides each entry: three exchanges per entry.

A server that takes a command asks a majority for the last slot in use, then decides the next slot: prepare, accept. If
another command was chosen there, it goes on with the slot after it. Any server may propose at any time. `notify=true`
sends each chosen entry to the others, which execute entries in the order of their slots.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from recipes.core.agree.acceptor import Slots
from recipes.core.agree.epochs import epoch_of
from recipes.core.agree.machine import Machine, Place, State
from recipes.core.agree.paxos import Proposals
from recipes.core.agree.preemption import RESEND_MS


class _Numbering:
    """A call that wants a slot: who has said which slot is the last one in use."""

    def __init__(self, command: Any, own: int) -> None:
        self.command = command
        self.last = own
        self.answered: set[str] = set()


class Server(Machine):
    """Proposer, acceptor and copy in one."""

    CALLS: ClassVar[Mapping[str, tuple[int, ...]]] = {"append": (1,)}
    HANDLERS: ClassVar[Mapping[str, str]] = {
        "WHICH": "_which", "LAST": "_last", "PREPARE": "_prepare", "ACCEPT": "_accept",
        "PROMISE": "_promised", "ACCEPTED": "_accepted", "REFUSED": "_refused", "CHOSEN": "_chosen",
    }  # fmt: skip
    SLOTS: type[Slots] = Slots
    PROPOSALS: type[Proposals] = Proposals

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._servers = place.sites["server"]
        self._slots = self.SLOTS(self)
        self._proposals = self.PROPOSALS(self, self._servers, self._slots)
        self._numbering: dict[int, _Numbering] = {}
        self._taken = 0  # the last slot that this server knows to be in use
        self._chosen_at: dict[int, Any] = {}
        self._executed: list[Any] = []

    def start(self) -> None:
        """Read which slots are in use, and which are known to be chosen."""
        for key, value in self.stored.items():
            what, _, digits = key.partition(":")
            if what in ("promised", "accepted"):
                self._taken = max(self._taken, int(digits))
            elif what == "chosen":
                self._chosen_at[int(digits)] = value
        self._execute()

    def describe(self) -> State:
        """What is chosen and executed here."""
        chosen = tuple(sorted(self._chosen_at))
        shown = (("chosen", chosen), ("executed", tuple(self._executed)))
        return State("server", last=self._taken, applied=len(self._executed), details=shown)

    def call(self, number: int, operation: list[Any]) -> None:
        """["append", X]: put a command into the log; the answer is its slot."""
        self._numbering[number] = _Numbering(operation[1], self._taken)
        self._ask_last(number)

    def timer(self, name: str) -> None:
        """Ask again."""
        if name.startswith("last:"):
            number = int(name.partition(":")[2])
            if number in self._numbering:
                self._ask_last(number)
        else:
            self._proposals.timer(name)

    # The first exchange: a slot.

    def _ask_last(self, number: int) -> None:
        numbering = self._numbering[number]
        self.set_timer(f"last:{number}", self.setting("resend_ms", RESEND_MS))
        for each in self._servers:
            if each != self.me and each not in numbering.answered:
                self.send(each, "log-id", "WHICH", call=number)
        self._count(number)

    def _which(self, sender: str, fields: Mapping[str, Any]) -> None:
        self.send(sender, "log-id-reply", "LAST", call=fields["call"], last=self._taken)

    def _last(self, sender: str, fields: Mapping[str, Any]) -> None:
        number = fields["call"]
        if number in self._numbering:
            self._numbering[number].answered.add(sender)
            self._numbering[number].last = max(self._numbering[number].last, fields["last"])
            self._count(number)

    def _count(self, number: int) -> None:
        numbering = self._numbering[number]
        if len(numbering.answered) + 1 > len(self._servers) // 2:
            del self._numbering[number]
            self.set_timer(f"last:{number}", None)
            self._decide(number, max(numbering.last, self._taken) + 1, numbering.command)

    # The second and the third: Paxos.

    def _decide(self, number: int, slot: int, command: Any) -> None:
        self._taken = max(self._taken, slot)

        def done(outcome: str, value: Any) -> None:
            self._learn(slot, value)
            if self.setting("notify", False):
                for each in self._servers:
                    if each != self.me:
                        self.send(each, "commit-notice", "CHOSEN", slot=slot, value=value)
            if value == [number, command]:
                self.reply(number, "ok", slot)
            else:  # somebody else's command is in this slot
                self._decide(number, max(self._taken, slot) + 1, command)

        value = [number, command]  # with the call's number: the same command may be given twice
        self._proposals.propose(number, slot, value, done, retry=True, give_up_ms=None)

    def _prepare(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._taken = max(self._taken, fields["slot"])
        self._slots.prepare(fields["slot"], epoch_of(fields["epoch"]), self._answer(sender, "promise"))

    def _accept(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._taken = max(self._taken, fields["slot"])
        self._slots.accept(fields["slot"], epoch_of(fields["epoch"]), fields["value"], self._answer(sender, "accepted"))

    def _answer(self, sender: str, role: str) -> Any:
        return lambda kind, fields: self.send(sender, role, kind, **fields)

    def _promised(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._proposals.promised(sender, fields)

    def _accepted(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._proposals.accepted(sender, fields)

    def _refused(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._proposals.refused(sender, fields)

    def _chosen(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._taken = max(self._taken, fields["slot"])
        self._learn(fields["slot"], fields["value"])

    def _learn(self, slot: int, value: Any) -> None:
        if slot not in self._chosen_at:
            self._chosen_at[slot] = list(value)
            self.write(f"chosen:{slot}", list(value))
            self._execute()

    def _execute(self) -> None:
        while len(self._executed) + 1 in self._chosen_at:
            self._executed.append(self._chosen_at[len(self._executed) + 1][1])
