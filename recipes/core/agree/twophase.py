"""Two-phase commit, as books have it: one coordinator, participants with locks, undo and redo.

Phase one: all participants execute the transaction, write down how to undo and to redo it, and vote. Phase two: if all
voted yes the coordinator decides to commit, otherwise, or when a vote is missing at the time-out, to roll back. The
decision is on the coordinator's disk before it is sent, and sent until everybody has confirmed it. A participant that
has voted yes must wait, and keeps its locks.

With `decision="replicated"` the decision is a Paxos value on acceptors, as in our own coordinator
(docs/transactions.md), whose record is in the replicated store. Then the coordinator only proposes, and a participant
that has waited too long asks the record, by proposing to abort there: it is told what is decided, whoever decided it.

Sources: Gray, Notes on Data Base Operating Systems (1978); Gray and Lamport, Consensus on Transaction Commit (2006).
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from recipes.core.agree.branch import ABORTED, COMMITTED, DECIDED, PREPARED, Branch
from recipes.core.agree.machine import Machine, Place, State
from recipes.core.agree.paxos import Proposals

VOTE_MS = 50
RESEND_MS = 30
ASK_MS = 100
COMMIT, ABORT = "commit", "abort"


class RecordedDecisions(Machine):
    """A machine that decides transactions in a replicated record. A decision's slot is its transaction's number."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._record = Proposals(self, place.sites.get("acceptor", ()))

    @property
    def replicated(self) -> bool:
        """Whether decisions are in the replicated record."""
        return bool(self.setting("decision", "coordinator") == "replicated")

    def decide_in_record(self, txn: int, wanted: str, then: Callable[[str], None]) -> None:
        """Propose a decision; `then` is called with the one that is made, however long that takes."""

        def done(outcome: str, value: Any) -> None:
            then(value)

        self._record.propose(txn, txn, wanted, done, retry=True, give_up_ms=None)

    def _promised(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._record.promised(sender, fields)

    def _accepted(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._record.accepted(sender, fields)

    def _refused(self, sender: str, fields: Mapping[str, Any]) -> None:
        self._record.refused(sender, fields)


class RunningTransaction:
    """A transaction at its coordinator. phase: "voting", "deciding", "telling" or "asking"; then what is waited for."""

    def __init__(self, phase: str, participants: tuple[str, ...], call: int | None) -> None:
        self.phase = phase
        self.participants = participants
        self.call = call
        self.answers: dict[str, str] = {}
        self.decision: str | None = None


class Coordinator(RecordedDecisions):
    """Coordinates transactions, of which each writes one key at all participants."""

    CALLS: ClassVar[Mapping[str, tuple[int, ...]]] = {"write": (2,), "recover": (1,)}
    HANDLERS: ClassVar[Mapping[str, str]] = {
        "YES": "_yes", "NO": "_no", "DONE": "_done", "STAGE": "_stage",
        "PROMISE": "_promised", "ACCEPTED": "_accepted", "REFUSED": "_refused",
    }  # fmt: skip

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._running: dict[int, RunningTransaction] = {}

    def start(self) -> None:
        """Go on with what is on the disk: tell decisions again; what is not decided is aborted."""
        for key in list(self.stored):
            what, _, digits = key.partition(":")
            if what == "begun" and f"ended:{digits}" not in self.stored:
                txn = int(digits)
                self._running[txn] = RunningTransaction("deciding", tuple(self.stored[key]), None)
                decision = self.stored.get(f"decision:{txn}")
                if decision is not None:
                    self.tell(txn, decision)
                else:
                    self.decide_again(txn)

    def describe(self) -> State:
        """The transactions under way."""
        phases = tuple(f"{txn}:{each.phase}" for txn, each in self._running.items())
        return State("coordinator", details=(("transactions", phases),))

    def call(self, number: int, operation: list[Any]) -> None:
        """["write", KEY, VALUE] at all participants; or ["recover", TXN]: end another coordinator's transaction."""
        participants = self.place.sites["participant"]
        if operation[0] == "recover":
            self._running[operation[1]] = RunningTransaction("asking", participants, number)
            if self.replicated:
                self.decide(operation[1], ABORT)
            else:
                self.ask(operation[1])
            return
        self._running[number] = RunningTransaction("voting", participants, number)
        changes = {operation[1]: operation[2]}
        self.write(f"begun:{number}", list(participants), lambda: self.begin(number, changes))

    def timer(self, name: str) -> None:
        """A phase has taken too long, or something is to be sent again."""
        what, _, digits = name.partition(":")
        running = self._running.get(int(digits)) if digits else None
        if what == "phase" and running is not None:
            self.time_up(int(digits), running)
        elif what == "tell" and running is not None and running.decision is not None:
            self.tell(int(digits), running.decision)
        elif what not in ("phase", "tell"):
            self._record.timer(name)

    # Phase one.

    def begin(self, txn: int, changes: Mapping[str, Any]) -> None:
        """Ask for votes."""
        self.send_all(txn, "vote", "PREPARE", changes=dict(changes))
        self.set_timer(f"phase:{txn}", self.setting("vote_ms", VOTE_MS))

    def time_up(self, txn: int, running: RunningTransaction) -> None:
        """Somebody has not answered in time."""
        if running.phase == "voting":
            self.decide(txn, ABORT)
        elif running.phase == "asking":
            self.conclude(txn, running)

    def voted(self, txn: int) -> None:
        """All have voted yes."""
        self.decide(txn, COMMIT)

    def _yes(self, sender: str, fields: Mapping[str, Any]) -> None:
        self.answered(sender, fields["txn"], "voting", "yes", self.voted)

    def _no(self, sender: str, fields: Mapping[str, Any]) -> None:
        running = self._running.get(fields["txn"])
        if running is not None and running.phase in ("voting", "preparing"):
            self.decide(fields["txn"], ABORT)

    # The decision, and phase two.

    def decide(self, txn: int, decision: str) -> None:
        """Make a decision durable, then tell it."""
        running = self._running[txn]
        running.phase = "deciding"
        self.set_timer(f"phase:{txn}", None)
        if self.replicated:
            self.decide_in_record(txn, decision, lambda decided: self.tell(txn, decided))
        else:
            self.write(f"decision:{txn}", decision, lambda: self.tell(txn, decision))

    def decide_again(self, txn: int) -> None:
        """After a restart: nothing was decided here, so nobody can have been told to commit."""
        self.decide(txn, ABORT)

    def tell(self, txn: int, decision: str) -> None:
        """Tell the decision to all that have not confirmed it, until they have."""
        running = self._running[txn]
        if running.phase != "telling":
            running.phase, running.decision, running.answers = "telling", decision, {}
        kind = self.decision_kind(decision)
        for each in running.participants:
            if each not in running.answers:
                self.send(each, "commit-notice", kind, txn=txn)
        self.set_timer(f"tell:{txn}", self.setting("resend_ms", RESEND_MS))

    def decision_kind(self, decision: str) -> str:
        """The message that tells a decision."""
        return "COMMIT" if decision == COMMIT else "ROLLBACK"

    def _done(self, sender: str, fields: Mapping[str, Any]) -> None:
        self.answered(sender, fields["txn"], "telling", "done", self.finish)

    def finish(self, txn: int) -> None:
        """Everybody has confirmed."""
        running = self._running.pop(txn)
        self.set_timer(f"tell:{txn}", None)
        self.write(f"ended:{txn}", True)
        if running.call is not None:
            said = ("ok", "committed") if running.decision == COMMIT else ("fail", "rolled back")
            self.reply(running.call, *said)

    # Another coordinator's transaction.

    def ask(self, txn: int) -> None:
        """Ask all participants how far they have come."""
        self.send_all(txn, "ask", "WHICH_STAGE")
        self.set_timer(f"phase:{txn}", self.setting("vote_ms", VOTE_MS))

    def _stage(self, sender: str, fields: Mapping[str, Any]) -> None:
        running = self._running.get(fields["txn"])
        if running is not None and running.phase == "asking":
            running.answers[sender] = fields["stage"]
            if len(running.answers) == len(running.participants):
                self.conclude(fields["txn"], running)

    def conclude(self, txn: int, running: RunningTransaction) -> None:
        """Decide by what the participants have said, if that is possible."""
        stages = set(running.answers.values())
        if COMMITTED in stages:
            self.decide(txn, COMMIT)
        elif ABORTED in stages:
            self.decide(txn, ABORT)
        elif running.call is None:  # our own, from before a restart
            self.ask(txn)
        else:
            del self._running[txn]
            self.set_timer(f"phase:{txn}", None)
            self.reply(running.call, "fail", "in doubt")

    # For both protocols.

    def send_all(self, txn: int, role: str, kind: str, /, **fields: Any) -> None:
        """Send to all participants of a transaction."""
        for each in self._running[txn].participants:
            self.send(each, role, kind, txn=txn, **fields)

    def answered(self, sender: str, txn: int, phase: str, answer: str, all_answered: Callable[[int], None]) -> None:
        """Count an answer of a phase, unless it comes too late."""
        running = self._running.get(txn)
        if running is not None and running.phase == phase:
            running.answers[sender] = answer
            if len(running.answers) == len(running.participants):
                running.answers = {}
                all_answered(txn)


class Participant(RecordedDecisions):
    """Takes part in transactions. `refuses` has, by participant, the values that it cannot store: it votes no."""

    CALLS: ClassVar[Mapping[str, tuple[int, ...]]] = {"read": (1,), "peek": (1,)}
    HANDLERS: ClassVar[Mapping[str, str]] = {
        "PREPARE": "_prepare", "COMMIT": "_commit", "ROLLBACK": "_roll_back", "WHICH_STAGE": "_which_stage",
        "PROMISE": "_promised", "ACCEPTED": "_accepted", "REFUSED": "_refused",
    }  # fmt: skip

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.branch: Branch = Branch(self)

    def start(self) -> None:
        """What has voted stays locked; with a replicated record it can be asked for."""
        for txn in self.branch.open():
            self.wait(txn)

    def describe(self) -> State:
        """Its values, and what is locked."""
        stages = tuple((key[4:], record["stage"]) for key, record in self.stored.items() if key.startswith("txn:"))
        locks = tuple(self.branch.locks().items())
        values = tuple(sorted(self.branch.values().items()))
        return State("participant", details=(("stages", stages), ("locks", locks), ("values", values)))

    def call(self, number: int, operation: list[Any]) -> None:
        """["read", KEY]: wait until it is free; ["peek", KEY]: the value that was committed last."""
        if operation[0] == "read":
            self.branch.read(number, operation[1])
        else:
            self.reply(number, "ok", self.branch.peek(operation[1]))

    def timer(self, name: str) -> None:
        """It has waited too long for the decision."""
        what, _, digits = name.partition(":")
        if what == "wait":
            if self.branch.stage(int(digits)) not in DECIDED:
                self.waited(int(digits))
        else:
            self._record.timer(name)

    def agrees(self, changes: Mapping[str, Any]) -> bool:
        """Whether this transaction can be executed here."""
        refused = self.setting("refuses", {}).get(self.me, ())
        return not any(value in refused for value in changes.values()) and self.branch.is_free(changes)

    def _prepare(self, sender: str, fields: Mapping[str, Any]) -> None:
        txn = fields["txn"]

        def vote() -> None:
            self.send(sender, "vote-reply", "YES", txn=txn)
            self.wait(txn)

        stage = self.branch.stage(txn)
        if stage == PREPARED:
            vote()
        elif stage is None and self.agrees(fields["changes"]):
            self.branch.execute(txn, fields["changes"], vote)
        elif stage is None:
            self.branch.roll_back(txn, lambda: self.send(sender, "vote-reply", "NO", txn=txn))
        else:
            self.send(sender, "vote-reply", "NO", txn=txn)

    def wait(self, txn: int) -> None:
        """It has voted yes: from now on only a decision can free it. With a replicated record it asks there."""
        if self.replicated:
            self.set_timer(f"wait:{txn}", self.setting("ask_ms", ASK_MS))

    def waited(self, txn: int) -> None:
        """Ask the record."""
        self.decide_in_record(txn, ABORT, lambda decision: self.obey(txn, decision, None))

    def _commit(self, sender: str, fields: Mapping[str, Any]) -> None:
        self.obey(fields["txn"], COMMIT, sender)

    def _roll_back(self, sender: str, fields: Mapping[str, Any]) -> None:
        self.obey(fields["txn"], ABORT, sender)

    def obey(self, txn: int, decision: str, sender: str | None) -> None:
        """Carry out a decision, once, and confirm it."""

        def confirm() -> None:
            self.set_timer(f"wait:{txn}", None)
            if sender is not None:
                self.send(sender, "ack", "DONE", txn=txn)

        stage = self.branch.stage(txn)
        if stage in DECIDED:
            confirm()
        elif decision == COMMIT and stage is not None:
            self.branch.commit(txn, confirm)
        elif decision == ABORT:
            self.branch.roll_back(txn, confirm)

    def _which_stage(self, sender: str, fields: Mapping[str, Any]) -> None:
        txn = fields["txn"]

        def answer() -> None:
            self.send(sender, "ask-reply", "STAGE", txn=txn, stage=self.branch.stage(txn))

        if self.branch.stage(txn) is None:
            self.branch.roll_back(txn, answer)  # it has not voted, and never will
        else:
            answer()
