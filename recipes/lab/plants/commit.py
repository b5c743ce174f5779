"""Planted bugs of two- and three-phase commit."""

from typing import Any

from recipes.core.agree import threephase, twophase
from recipes.core.agree.branch import ABORTED, PREPARED
from recipes.lab.plants.plant import Plant


class _HastyCoordinator(twophase.Coordinator):
    """Tells the decision before it is on disk."""

    def decide(self, txn: int, decision: str) -> None:
        self._running[txn].phase = "deciding"
        self.set_timer(f"phase:{txn}", None)
        self.tell(txn, decision)
        self.write(f"decision:{txn}", decision)


class _OptimisticCoordinator(twophase.Coordinator):
    """Counts a missing vote as a yes."""

    def time_up(self, txn: int, running: twophase.RunningTransaction) -> None:
        self.decide(txn, twophase.COMMIT)


class _UnlockedParticipant(twophase.Participant):
    """Answers readers while a transaction is under way."""

    def call(self, number: int, operation: list[Any]) -> None:
        self.reply(number, "ok", self.branch.peek(operation[1]))


class _ImpatientParticipant(threephase.Participant):
    """Decides by its own time-out, though the decision is in a record: the textbook's rule."""

    def waited(self, txn: int) -> None:
        self.obey(txn, twophase.COMMIT if self.branch.stage(txn) == PREPARED else twophase.ABORT, None)


class _ImpatientTwoPhase(twophase.Participant):
    """Rolls back by itself when the decision does not come."""

    def waited(self, txn: int) -> None:
        self.obey(txn, twophase.ABORT, None)


class _SilentParticipant(twophase.Participant):
    """Never asks the record: it waits for the coordinator."""

    def waited(self, txn: int) -> None:
        self.set_timer(f"wait:{txn}", twophase.ASK_MS)


class _FickleParticipant(_ImpatientTwoPhase):
    """Rolls back by itself, and obeys all the same when it is told to commit."""

    def obey(self, txn: int, decision: str, sender: str | None) -> None:
        if self.branch.stage(txn) == ABORTED and decision == twophase.COMMIT:
            self.branch.commit(txn, lambda: None)
        else:
            super().obey(txn, decision, sender)


PLANTS = (
    Plant(
        "2pc-vote-counted", "2pc",
        "the coordinator counts a missing vote as a yes",
        "协调者把没有收到的投票当作同意",
        ("T2", "T1"), {twophase.Coordinator: _OptimisticCoordinator},
    ),
    Plant(
        "2pc-told-before-stored", "2pc",
        "the coordinator tells its decision before it is on disk",
        "协调者的决定尚未落盘就通知参与者",
        ("T1",), {twophase.Coordinator: _HastyCoordinator}, {"decision": "coordinator"},
    ),
    Plant(
        "2pc-rolls-back-alone", "2pc",
        "a participant that has voted yes rolls back when the decision does not come",
        "投过同意票的参与者等不到决定就自行回滚",
        ("T1",), {twophase.Participant: _ImpatientTwoPhase},
    ),
    Plant(
        "2pc-changes-its-mind", "2pc",
        "a participant rolls back by itself, and commits when it is told to",
        "参与者自行回滚之后，收到 commit 又去提交",
        ("T3",), {twophase.Participant: _FickleParticipant},
    ),
    Plant(
        "2pc-reads-locked", "2pc",
        "a participant answers readers while a transaction has the value locked",
        "事务还锁着数据，参与者就应答读取",
        ("T4",), {twophase.Participant: _UnlockedParticipant},
    ),
    Plant(
        "2pc-never-asks", "2pc",
        "a participant never asks the replicated record, and waits for the coordinator",
        "参与者从不询问有副本的决议，只等协调者",
        ("T5",), {twophase.Participant: _SilentParticipant},
    ),
    Plant(
        "3pc-timeout-decides", "3pc",
        "a participant decides by its own time-out, though there is a record to ask",
        "明明可以询问记录，参与者却按自己的超时作决定",
        ("T1",), {threephase.Participant: _ImpatientParticipant},
    ),
)  # fmt: skip
