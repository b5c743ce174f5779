"""Three-phase commit: a phase between voting and committing, and time-outs on both sides.

CanCommit: the participants vote, and keep what they would need free. PreCommit: they execute, with undo and redo
written down. DoCommit: they commit. A participant that waits in vain for PreCommit aborts. One that waits in vain for
DoCommit commits, since all must have voted yes by then. So nobody waits for a dead coordinator. But where the network
is cut at the wrong moment, one side commits and the other aborts: `decision="replicated"` asks the record instead (see
`twophase.py`).

Source: Skeen, Nonblocking Commit Protocols (1981).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from recipes.core.agree import twophase
from recipes.core.agree.branch import ABORTED, COMMITTED, DECIDED, PREPARED, VOTED
from recipes.core.agree.twophase import ABORT, COMMIT, RunningTransaction

PHASE_MS = 50
WAIT_MS = 120


class Coordinator(twophase.Coordinator):
    """Coordinates transactions in three phases."""

    HANDLERS: ClassVar[Mapping[str, str]] = {**twophase.Coordinator.HANDLERS, "ACK": "_ack"}

    def begin(self, txn: int, changes: Mapping[str, Any]) -> None:
        """CanCommit."""
        self.send_all(txn, "vote", "CAN_COMMIT", changes=dict(changes))
        self.set_timer(f"phase:{txn}", self.setting("vote_ms", PHASE_MS))

    def voted(self, txn: int) -> None:
        """PreCommit: all have voted yes."""
        self._running[txn].phase = "preparing"
        self.send_all(txn, "prepare", "PRE_COMMIT")
        self.set_timer(f"phase:{txn}", self.setting("vote_ms", PHASE_MS))

    def time_up(self, txn: int, running: RunningTransaction) -> None:
        """A vote or an ACK is missing."""
        if running.phase == "preparing":
            self.decide(txn, ABORT)
        else:
            super().time_up(txn, running)

    def decide_again(self, txn: int) -> None:
        """After a restart: the participants have decided by themselves, or can still be asked how far they are."""
        if self.replicated:
            self.decide(txn, ABORT)
        else:
            self._running[txn].phase = "asking"
            self.ask(txn)

    def decision_kind(self, decision: str) -> str:
        """The message that tells a decision."""
        return "DO_COMMIT" if decision == COMMIT else "ABORT"

    def conclude(self, txn: int, running: RunningTransaction) -> None:
        """Decide by what the participants have said: if one has not executed, none has committed yet."""
        stages = set(running.answers.values())
        if stages & {COMMITTED, ABORTED} or len(running.answers) < len(running.participants):
            super().conclude(txn, running)
        else:
            self.decide(txn, COMMIT if stages == {PREPARED} else ABORT)

    def _ack(self, sender: str, fields: Mapping[str, Any]) -> None:
        self.answered(sender, fields["txn"], "preparing", "ack", lambda txn: self.decide(txn, COMMIT))


class Participant(twophase.Participant):
    """Takes part in transactions in three phases."""

    HANDLERS: ClassVar[Mapping[str, str]] = {
        **twophase.Participant.HANDLERS,
        "CAN_COMMIT": "_can_commit", "PRE_COMMIT": "_pre_commit", "DO_COMMIT": "_commit", "ABORT": "_roll_back",
    }  # fmt: skip

    def wait(self, txn: int) -> None:
        """It has voted, or executed: it waits for what comes next, but not for ever."""
        self.set_timer(f"wait:{txn}", self.setting("wait_ms", WAIT_MS))

    def waited(self, txn: int) -> None:
        """The next message has not come in time."""
        if self.replicated:
            super().waited(txn)
        else:
            self.obey(txn, COMMIT if self.branch.stage(txn) == PREPARED else ABORT, None)

    def _can_commit(self, sender: str, fields: Mapping[str, Any]) -> None:
        txn = fields["txn"]

        def vote() -> None:
            self.send(sender, "vote-reply", "YES", txn=txn)
            self.wait(txn)

        if self.branch.stage(txn) is not None:
            return
        if self.agrees(fields["changes"]):
            self.branch.reserve(txn, fields["changes"], vote)
        else:
            self.branch.roll_back(txn, lambda: self.send(sender, "vote-reply", "NO", txn=txn))

    def _pre_commit(self, sender: str, fields: Mapping[str, Any]) -> None:
        txn = fields["txn"]

        def acknowledge() -> None:
            if self.branch.stage(txn) not in DECIDED:
                self.send(sender, "promise", "ACK", txn=txn)
                self.wait(txn)

        if self.branch.stage(txn) == VOTED:
            self.branch.execute(txn, self.branch.record(txn)["redo"], acknowledge)
        elif self.branch.stage(txn) == PREPARED:
            acknowledge()
