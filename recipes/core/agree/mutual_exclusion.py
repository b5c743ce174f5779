"""The first step towards Paxos, mutual exclusion: one acceptor, whose lock lets one proposer in at a time.

`propose(V)` takes the lock and learns the value. If there is none, V is submitted and the lock is free again; if there
is one, the lock is given back and that value is the answer. A proposer that dies with the lock keeps all others out for
ever: this is what the second step (`preemption.py`) does away with.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from recipes.core.agree.machine import Machine, Place, State

RESEND_MS = 20
GIVE_UP_MS = 200


class Acceptor(Machine):
    """Keeps the lock and the value. A token, proposer and call, says for which call the lock is held."""

    HANDLERS: ClassVar[Mapping[str, str]] = {"PREPARE": "_prepare", "ACCEPT": "_accept", "RELEASE": "_release"}

    def describe(self) -> State:
        """The value, and who holds the lock."""
        shown = (("value", self.stored.get("value")), ("lock", self.stored.get("lock")))
        return State("acceptor", details=shown)

    def _prepare(self, sender: str, fields: Mapping[str, Any]) -> None:
        """Give the lock: a promise GRANTED with token and value, once `lock` is on disk. Who has it already may ask
        again, since an answer may be lost. If another call has it: a promise BUSY with token and holder."""
        token = fields["token"]
        holder = self.stored.get("lock")
        if holder is not None and holder != token:
            self.send(sender, "promise", "BUSY", token=token, holder=holder)
            return

        def grant() -> None:
            self.send(sender, "promise", "GRANTED", token=token, value=self.stored.get("value"))

        self.write("lock", token, grant)

    def _accept(self, sender: str, fields: Mapping[str, Any]) -> None:
        """Take `value` from who has the lock, note the token in `by`, and free the lock: an accepted ACCEPTED with the
        token, once all of it is on disk, and again if the same call asks again. To anybody else: REFUSED, likewise."""
        token = fields["token"]

        def confirm() -> None:
            self.send(sender, "accepted", "ACCEPTED", token=token)

        if self.stored.get("lock") == token:
            self.write("value", fields["value"])
            self.write("by", token)
            self.write("lock", None, confirm)
        elif self.stored.get("by") == token:  # the answer was lost, and the proposer asks again
            confirm()
        else:
            self.send(sender, "accepted", "REFUSED", token=token)

    def _release(self, sender: str, fields: Mapping[str, Any]) -> None:
        """Free the lock if this call has it: an accepted RELEASED with the token, once that is on disk; at once if it
        has not."""
        token = fields["token"]

        def confirm() -> None:
            self.send(sender, "accepted", "RELEASED", token=token)

        if self.stored.get("lock") == token:
            self.write("lock", None, confirm)
        else:
            confirm()


class Proposer(Machine):
    """Proposes values. Nothing of it is on disk: a proposer that dies knows nothing of its lock."""

    CALLS: ClassVar[Mapping[str, tuple[int, ...]]] = {"propose": (1,)}
    HANDLERS: ClassVar[Mapping[str, str]] = {
        "GRANTED": "_granted", "BUSY": "_busy", "ACCEPTED": "_accepted", "REFUSED": "_refused", "RELEASED": "_released",
    }  # fmt: skip

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._acceptor = place.sites["acceptor"][0]
        self._asked: dict[int, tuple[str, str, dict[str, Any]]] = {}  # the request of each call that has no answer yet
        self._own: dict[int, Any] = {}

    def describe(self) -> State:
        """What each call waits for."""
        return State("proposer", details=(("waits", tuple(f"{n}:{asked[1]}" for n, asked in self._asked.items())),))

    def call(self, number: int, operation: list[Any]) -> None:
        """["propose", V]: decide V, or learn what is decided."""
        self._own[number] = operation[1]
        self._ask(number, "prepare", "PREPARE")
        self.set_timer(f"end:{number}", self.setting("give_up_ms", GIVE_UP_MS))

    def timer(self, name: str) -> None:
        """Ask again, or give up."""
        what, _, digits = name.partition(":")
        number = int(digits)
        if number not in self._asked:
            return
        if what == "resend":
            self._ask(number, *self._asked[number][:2], **self._asked[number][2])
        else:
            self.send(self._acceptor, "accept", "RELEASE", token=[self.me, number])
            self._end(number, "fail", "no answer")

    def _ask(self, number: int, role: str, kind: str, /, **fields: Any) -> None:
        self._asked[number] = (role, kind, fields)
        self.send(self._acceptor, role, kind, token=[self.me, number], **fields)
        self.set_timer(f"resend:{number}", self.setting("resend_ms", RESEND_MS))

    def _granted(self, sender: str, fields: Mapping[str, Any]) -> None:
        number = self._waiting(fields, "PREPARE")
        if number is None:
            return
        if fields["value"] is None:
            self._ask(number, "accept", "ACCEPT", value=self._own[number])
        else:
            self._own[number] = fields["value"]
            self._ask(number, "accept", "RELEASE")

    def _busy(self, sender: str, fields: Mapping[str, Any]) -> None:
        number = self._waiting(fields, "PREPARE")
        if number is not None:
            self._end(number, "fail", f"locked by {fields['holder'][0]}")

    def _accepted(self, sender: str, fields: Mapping[str, Any]) -> None:
        number = self._waiting(fields, "ACCEPT")
        if number is not None:
            self._end(number, "ok", self._own[number])

    def _refused(self, sender: str, fields: Mapping[str, Any]) -> None:
        number = self._waiting(fields, "ACCEPT")
        if number is not None:
            self._end(number, "fail", "the lock was lost")

    def _released(self, sender: str, fields: Mapping[str, Any]) -> None:
        number = self._waiting(fields, "RELEASE")
        if number is not None:
            self._end(number, "ok", self._own[number])

    def _waiting(self, fields: Mapping[str, Any], kind: str) -> int | None:
        """The call that this answers, unless it no longer waits for it."""
        number: int = fields["token"][1]
        return number if number in self._asked and self._asked[number][1] == kind else None

    def _end(self, number: int, outcome: str, value: Any) -> None:
        del self._asked[number]
        self.set_timer(f"resend:{number}", None)
        self.set_timer(f"end:{number}", None)
        self.reply(number, outcome, value)
