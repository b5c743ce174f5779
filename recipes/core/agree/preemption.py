"""The second step towards Paxos: a right that a newer epoch takes away (preemption), still with one acceptor.

The acceptor (`acceptor.py`) prefers the new: once it has granted an epoch, it takes no value from an older one. The
proposer agrees with the earlier: a value that is there is the answer. So no proposer's death blocks the others; the
acceptor's death does.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from recipes.core.agree.epochs import Epochs, epoch_of
from recipes.core.agree.machine import Machine, Place, State

RESEND_MS = 20
GIVE_UP_MS = 200


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
