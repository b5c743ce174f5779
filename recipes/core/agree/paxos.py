"""Paxos: what one acceptor did in the second step (`preemption.py`), several do here, and a majority counts.

A value is chosen once a majority of the acceptors has accepted it *in the same epoch*. A proposer asks a majority for
the right and for what it has accepted. If a majority has the same value from the same epoch, that is the answer.
Otherwise it proposes the value of the newest epoch that was reported, or its own if none was.

Source: Lamport, Paxos Made Simple (2001), section 2.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from recipes.core.agree.acceptor import Slots
from recipes.core.agree.epochs import Epoch, Epochs, epoch_of
from recipes.core.agree.machine import Machine, Place, State
from recipes.core.agree.preemption import GIVE_UP_MS, RESEND_MS

Done = Callable[[str, Any], None]  # called with "ok" and the value that is chosen, or "fail" and the reason
_PAUSE_MS = 1


class Attempt:
    """One epoch's way through both phases for one slot: who has promised, and who has accepted.

    epoch, slot, value: what is proposed; `value` is the proposer's own until the promises say otherwise.
    """

    def __init__(self, acceptors: tuple[str, ...], slot: int, epoch: Epoch, value: Any) -> None:
        self.slot: int = slot
        self.epoch: Epoch = epoch
        self.value: Any = value
        self.accepting: bool = False
        self._acceptors = acceptors
        self._promises: dict[str, tuple[Epoch, Any] | None] = {}
        self._accepts: set[str] = set()
        self._refusals: set[str] = set()

    @property
    def majority(self) -> int:
        """How many acceptors are more than half of them."""
        return len(self._acceptors) // 2 + 1

    def promise(self, sender: str, accepted: Any) -> bool:
        """Count a promise, with what its sender has accepted; True when a majority has promised."""
        self._promises[sender] = None if accepted is None else (epoch_of(accepted[0]), accepted[1])
        return len(self._promises) >= self.majority and not self.accepting

    def chosen_already(self) -> tuple[Epoch, Any] | None:
        """What a majority reports from one and the same epoch."""
        reports = [report for report in self._promises.values() if report is not None]
        for report in reports:
            if sum(each[0] == report[0] for each in reports) >= self.majority:
                return report
        return None

    def adopt(self) -> None:
        """The second phase begins: take over the value of the newest epoch that was reported."""
        self.accepting = True
        reports = [report for report in self._promises.values() if report is not None]
        if reports:
            self.value = max(reports, key=lambda report: report[0])[1]

    def accept(self, sender: str) -> bool:
        """Count an acceptance; True when a majority has accepted."""
        self._accepts.add(sender)
        return len(self._accepts) >= self.majority

    def refuse(self, sender: str) -> bool:
        """Count a refusal; True when no majority can be reached any more."""
        self._refusals.add(sender)
        return len(self._acceptors) - len(self._refusals) < self.majority

    def unanswered(self) -> list[str]:
        """The acceptors that have not answered in this phase."""
        answered = self._accepts if self.accepting else self._promises.keys()
        return [each for each in self._acceptors if each not in answered and each not in self._refusals]


class _Wanted:
    """A slot to decide: our value, when to stop, and the attempt under way."""

    def __init__(self, slot: int, value: Any, done: Done, retry: bool) -> None:
        self.slot = slot
        self.value = value
        self.done = done
        self.retry = retry
        self.attempt: Attempt | None = None


class Proposals:
    """Decides slots on acceptors, on behalf of a machine that passes messages and timers on.

    local: the machine's own slots, when its site is one of the acceptors: no message goes there.
    """

    ATTEMPT: ClassVar[type[Attempt]] = Attempt

    def __init__(self, owner: Machine, acceptors: tuple[str, ...], local: Slots | None = None) -> None:
        self.epochs: Epochs = Epochs(owner)
        self._owner = owner
        self._acceptors = acceptors
        self._local = local
        self._wanted: dict[int, _Wanted] = {}

    def propose(self, number: int, slot: int, value: Any, done: Done, *, retry: bool, give_up_ms: int | None) -> None:
        """Decide `slot`, with `value` if nothing can be chosen there yet. `number` tells proposals apart.

        retry: a newer epoch is no failure; try again after a pause. give_up_ms: None to go on for ever.
        """
        self._wanted[number] = _Wanted(slot, value, done, retry)
        if give_up_ms is not None:
            self._owner.set_timer(f"end:{number}", give_up_ms)
        self._try(number)

    def waiting(self) -> tuple[str, ...]:
        """What each proposal waits for, to be shown."""
        return tuple(
            f"{number}:{'accepted' if wanted.attempt and wanted.attempt.accepting else 'promise'}"
            for number, wanted in self._wanted.items()
        )

    def timer(self, name: str) -> bool:
        """A timer of the machine has run out; False if it is none of ours."""
        what, _, digits = name.partition(":")
        if what not in ("end", "resend", "pause"):
            return False
        number = int(digits)
        wanted = self._wanted.get(number)
        if wanted is None:
            return True
        if what == "end":
            self._finish(number, "fail", "no answer from a majority")
        elif what == "pause":
            self._try(number)
        elif wanted.attempt is not None:
            self._ask(number, wanted.attempt)
        return True

    def promised(self, sender: str, fields: Mapping[str, Any]) -> None:
        """A PROMISE has arrived."""
        found = self._find(fields)
        if found is None or found[1].accepting or not found[1].promise(sender, fields["accepted"]):
            return
        number, attempt = found
        already = attempt.chosen_already()
        if already is not None:
            self._finish(number, "ok", already[1])
            return
        attempt.adopt()
        self._ask(number, attempt)

    def accepted(self, sender: str, fields: Mapping[str, Any]) -> None:
        """An ACCEPTED has arrived."""
        found = self._find(fields)
        if found is not None and found[1].accept(sender):
            self._finish(found[0], "ok", found[1].value)

    def refused(self, sender: str, fields: Mapping[str, Any]) -> None:
        """A REFUSED has arrived."""
        self.epochs.saw(epoch_of(fields["promised"]))
        found = self._find(fields)
        if found is None or not found[1].refuse(sender):
            return
        number = found[0]
        wanted = self._wanted[number]
        if not wanted.retry:
            self._finish(number, "fail", "a newer epoch has the right")
            return
        wanted.attempt = None
        pause_ms = self._owner.setting("backoff_ms", 0)
        self._owner.set_timer(f"resend:{number}", None)
        if pause_ms:
            self._owner.set_timer(f"pause:{number}", _PAUSE_MS + self._owner.place.below(pause_ms))
        else:
            self._try(number)

    def _try(self, number: int) -> None:
        wanted = self._wanted[number]

        def begin(epoch: Epoch) -> None:
            if self._wanted.get(number) is wanted:
                wanted.attempt = self.ATTEMPT(self._acceptors, wanted.slot, epoch, wanted.value)
                self._ask(number, wanted.attempt)

        self.epochs.choose(begin)

    def _ask(self, number: int, attempt: Attempt) -> None:
        """Send the request of this phase to all acceptors that have not answered it."""
        owner = self._owner
        owner.set_timer(f"resend:{number}", owner.setting("resend_ms", RESEND_MS))
        for each in attempt.unanswered():
            if each == owner.me and self._local is not None:
                if attempt.accepting:
                    self._local.accept(attempt.slot, attempt.epoch, attempt.value, self._own_answer)
                else:
                    self._local.prepare(attempt.slot, attempt.epoch, self._own_answer)
            elif attempt.accepting:
                owner.send(each, "accept", "ACCEPT", slot=attempt.slot, epoch=attempt.epoch, value=attempt.value)
            else:
                owner.send(each, "prepare", "PREPARE", slot=attempt.slot, epoch=attempt.epoch)

    def _own_answer(self, kind: str, fields: dict[str, Any]) -> None:
        answers = {"PROMISE": self.promised, "ACCEPTED": self.accepted, "REFUSED": self.refused}
        answers[kind](self._owner.me, fields)

    def _find(self, fields: Mapping[str, Any]) -> tuple[int, Attempt] | None:
        """The attempt that this answers, unless it is over."""
        epoch = epoch_of(fields["epoch"])
        for number, wanted in self._wanted.items():
            attempt = wanted.attempt
            if attempt is not None and (attempt.slot, attempt.epoch) == (fields["slot"], epoch):
                return number, attempt
        return None

    def _finish(self, number: int, outcome: str, value: Any) -> None:
        wanted = self._wanted.pop(number)
        for what in ("end", "resend", "pause"):
            self._owner.set_timer(f"{what}:{number}", None)
        wanted.done(outcome, value)


class Proposer(Machine):
    """Proposes values from outside: any number of proposers may come and go."""

    CALLS: ClassVar[Mapping[str, tuple[int, ...]]] = {"propose": (1,)}
    HANDLERS: ClassVar[Mapping[str, str]] = {"PROMISE": "_promised", "ACCEPTED": "_accepted", "REFUSED": "_refused"}
    PROPOSALS: type[Proposals] = Proposals

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._proposals = self.PROPOSALS(self, place.sites["acceptor"])

    def describe(self) -> State:
        """What each call waits for."""
        return State("proposer", details=(("waits", self._proposals.waiting()),))

    def call(self, number: int, operation: list[Any]) -> None:
        """["propose", V]: decide V, or learn what is decided."""

        def done(outcome: str, value: Any) -> None:
            self.reply(number, outcome, value)
            if outcome == "ok":
                for each in self.place.sites.get("learner", ()):
                    self.send(each, "commit-notice", "CHOSEN", slot=1, value=value)

        retry = bool(self.setting("retry", False))
        give_up_ms = self.setting("give_up_ms", GIVE_UP_MS)
        self._proposals.propose(number, 1, operation[1], done, retry=retry, give_up_ms=give_up_ms)

    def timer(self, name: str) -> None:
        """Ask again, try again, or give up."""
        self._proposals.timer(name)

    def _promised(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._proposals.promised(sender, fields)

    def _accepted(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._proposals.accepted(sender, fields)

    def _refused(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._proposals.refused(sender, fields)


class Learner(Machine):
    """Hears what is chosen."""

    HANDLERS: ClassVar[Mapping[str, str]] = {"CHOSEN": "_chosen"}

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._learned: dict[int, Any] = {}

    def describe(self) -> State:
        """What it has heard."""
        return State("learner", details=(("learned", tuple(self._learned.items())),))

    def _chosen(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._learned[fields["slot"]] = fields["value"]
