"""An acceptor: it promises epochs and accepts values. Full Paxos has several of these, preemption has one.

It prefers the new: once it has promised an epoch, it takes no value from an older one.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from recipes.core.agree.epochs import Epoch, epoch_of
from recipes.core.agree.machine import Machine, Place, State

Answer = Callable[[str, dict[str, Any]], None]  # called with the kind and the fields of the answer


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
        """Grant the epoch unless a newer one was granted: PROMISE with slot, epoch and what was accepted, once the
        promise is on disk; else REFUSED with slot, epoch and what was promised. The same epoch may ask again: its
        answer may be lost."""
        if epoch < self.promised(slot):
            answer("REFUSED", {"slot": slot, "epoch": epoch, "promised": self.promised(slot)})
            return

        def promise() -> None:
            answer("PROMISE", {"slot": slot, "epoch": epoch, "accepted": self.accepted(slot)})

        self._owner.write(f"promised:{slot}", epoch, promise)

    def accept(self, slot: int, epoch: Epoch, value: Any, answer: Answer) -> None:
        """Take the value unless a newer epoch was granted: ACCEPTED with slot and epoch, once [epoch, value] is on
        disk; else REFUSED as for `prepare`. An epoch that was not granted here before is granted by this."""
        if epoch < self.promised(slot):
            answer("REFUSED", {"slot": slot, "epoch": epoch, "promised": self.promised(slot)})
            return
        if epoch > self.promised(slot):
            self._owner.write(f"promised:{slot}", epoch)

        def confirm() -> None:
            answer("ACCEPTED", {"slot": slot, "epoch": epoch})

        self._owner.write(f"accepted:{slot}", [epoch, value], confirm)


class Acceptor(Machine):
    """A site that is nothing but an acceptor."""

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
