"""The second step towards Paxos: a right that a newer epoch takes away, still with one acceptor.

The acceptor prefers the new: once it has granted an epoch, it takes no value from an older one. The proposer agrees
with the earlier: a value that is there is the answer. So no proposer's death blocks the others; the acceptor's death
does.

An epoch is a pair of a number and an id. The notes take the clock's time as the number and have no id: two proposers
may then have the same epoch, and a slow clock is always too old (`epochs="clock"`). `epochs="counter"` is a durable
counter with the proposer's id, so that an epoch belongs to one proposer.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from recipes.core.agree.machine import Machine, Place, State

RESEND_MS = 20
GIVE_UP_MS = 200

Epoch = tuple[int, str]
Answer = Callable[[str, dict[str, Any]], None]  # called with the kind and the fields of the answer
NO_EPOCH: Epoch = (0, "")


def epoch_of(value: Any) -> Epoch:
    """An epoch as it came from a disk or in a message."""
    return (value[0], value[1]) if value is not None else NO_EPOCH


class Slots:
    """What an acceptor keeps on its disk: for each slot the epoch that it has promised, and what it has accepted."""

    def __init__(self, owner: Machine) -> None:
        self._owner = owner

    def promised(self, slot: int) -> Epoch:
        """The newest epoch that was granted here."""
        return epoch_of(self._owner.stored.get(f"promised:{slot}"))

    def accepted(self, slot: int) -> tuple[Epoch, Any] | None:
        """What was accepted last, with its epoch."""
        found = self._owner.stored.get(f"accepted:{slot}")
        return None if found is None else (epoch_of(found[0]), found[1])

    def prepare(self, slot: int, epoch: Epoch, answer: Answer) -> None:
        """Grant the epoch unless a newer one was granted. The same one may ask again: its answer may be lost."""
        if epoch < self.promised(slot):
            answer("REFUSED", {"slot": slot, "epoch": epoch, "promised": self.promised(slot)})
            return

        def promise() -> None:
            answer("PROMISE", {"slot": slot, "epoch": epoch, "accepted": self.accepted(slot)})

        self._owner.write(f"promised:{slot}", epoch, promise)

    def accept(self, slot: int, epoch: Epoch, value: Any, answer: Answer) -> None:
        """Take the value unless a newer epoch was granted."""
        if epoch < self.promised(slot):
            answer("REFUSED", {"slot": slot, "epoch": epoch, "promised": self.promised(slot)})
            return
        if epoch > self.promised(slot):
            self._owner.write(f"promised:{slot}", epoch)

        def confirm() -> None:
            answer("ACCEPTED", {"slot": slot, "epoch": epoch})

        self._owner.write(f"accepted:{slot}", [epoch, value], confirm)


class Acceptor(Machine):
    """A site that is nothing but an acceptor. Full Paxos has several of these, unchanged."""

    HANDLERS: ClassVar[Mapping[str, str]] = {"PREPARE": "_prepare", "ACCEPT": "_accept"}
    SLOTS: type[Slots] = Slots

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.slots: Slots = self.SLOTS(self)

    def describe(self) -> State:
        """Its promises and values."""
        kept = tuple((key, value) for key, value in sorted(self.stored.items()))
        return State("acceptor", number=self.stored.get("promised:1"), details=kept)

    def _prepare(self, sender: str, fields: Mapping[str, Any]) -> None:
        def answer(kind: str, said: dict[str, Any]) -> None:
            self.send(sender, "promise", kind, **said)

        self.slots.prepare(fields["slot"], epoch_of(fields["epoch"]), answer)

    def _accept(self, sender: str, fields: Mapping[str, Any]) -> None:
        def answer(kind: str, said: dict[str, Any]) -> None:
            self.send(sender, "accepted", kind, **said)

        self.slots.accept(fields["slot"], epoch_of(fields["epoch"]), fields["value"], answer)


class Epochs:
    """Where a proposer's epochs come from."""

    def __init__(self, owner: Machine) -> None:
        self._owner = owner
        self._seen = 0

    def saw(self, epoch: Epoch) -> None:
        """Somebody has this epoch: the next one of ours is to be newer."""
        self._seen = max(self._seen, epoch[0])

    def choose(self, then: Callable[[Epoch], None]) -> None:
        """Call `then` with a new epoch: at once, or when the counter is on disk, so that no epoch is used twice."""
        owner = self._owner
        if owner.setting("epochs", "counter") == "clock":
            then((owner.now_ms, ""))
            return
        number = max(owner.stored.get("counter", 0), self._seen) + 1
        owner.write("counter", number, lambda: then((number, owner.me)))


class Proposer(Machine):
    """Proposes values to one acceptor."""

    CALLS: ClassVar[Mapping[str, tuple[int, ...]]] = {"propose": (1,)}
    HANDLERS: ClassVar[Mapping[str, str]] = {"PROMISE": "_promised", "ACCEPTED": "_accepted", "REFUSED": "_refused"}

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._acceptor = place.sites["acceptor"][0]
        self._epochs = Epochs(self)
        self._values: dict[int, Any] = {}  # the value of each call that is not answered yet
        self._asked: dict[int, tuple[str, str, dict[str, Any]]] = {}

    def describe(self) -> State:
        """What each call waits for."""
        return State("proposer", details=(("waits", tuple(f"{n}:{asked[1]}" for n, asked in self._asked.items())),))

    def call(self, number: int, operation: list[Any]) -> None:
        """["propose", V]: decide V, or learn what is decided."""
        self._values[number] = operation[1]
        self.set_timer(f"end:{number}", self.setting("give_up_ms", GIVE_UP_MS))
        self._epochs.choose(lambda epoch: self._ask(number, "prepare", "PREPARE", slot=1, epoch=epoch))

    def timer(self, name: str) -> None:
        """Ask again, or give up."""
        what, _, digits = name.partition(":")
        number = int(digits)
        if what == "end" and number in self._values:
            self._end(number, "fail", "no answer")
        elif number in self._asked:
            role, kind, fields = self._asked[number]
            self._ask(number, role, kind, **fields)

    def _ask(self, number: int, role: str, kind: str, /, **fields: Any) -> None:
        if number in self._values:
            self._asked[number] = (role, kind, fields)
            self.send(self._acceptor, role, kind, **fields)
            self.set_timer(f"resend:{number}", self.setting("resend_ms", RESEND_MS))

    def _promised(self, sender: str, fields: Mapping[str, Any]) -> None:
        number = self._waiting(fields, "PREPARE")
        if number is None:
            return
        if fields["accepted"] is not None:
            self._end(number, "ok", fields["accepted"][1])
        else:
            self._ask(number, "accept", "ACCEPT", slot=1, epoch=fields["epoch"], value=self._values[number])

    def _accepted(self, sender: str, fields: Mapping[str, Any]) -> None:
        number = self._waiting(fields, "ACCEPT")
        if number is not None:
            self._end(number, "ok", self._values[number])

    def _refused(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._epochs.saw(epoch_of(fields["promised"]))
        number = self._waiting(fields, None)
        if number is not None:
            self._end(number, "fail", "a newer epoch has the right")

    def _waiting(self, fields: Mapping[str, Any], kind: str | None) -> int | None:
        """The call that this answers, unless it no longer waits for it."""
        for number, (_, asked, said) in self._asked.items():
            if epoch_of(said["epoch"]) == epoch_of(fields["epoch"]) and kind in (asked, None):
                return number
        return None

    def _end(self, number: int, outcome: str, value: Any) -> None:
        del self._values[number]
        self._asked.pop(number, None)
        self.set_timer(f"resend:{number}", None)
        self.set_timer(f"end:{number}", None)
        self.reply(number, outcome, value)
