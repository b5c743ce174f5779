"""Planted bugs: machines with one mistake each, to show what breaks, and that the checks find it.

None of them is ever part of a protocol. A run with one says so in the header of its trace.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recipes.core.agree import paxos, paxos1, paxos2, paxos_log, threephase, twophase
from recipes.core.agree.branch import PREPARED
from recipes.core.agree.machine import Machine
from recipes.core.agree.paxos import Attempt, Proposals
from recipes.core.agree.paxos2 import Answer, Epoch, Slots
from recipes.core.errors import BadArguments


@dataclass(frozen=True)
class Plant:
    """A mistake. protocol: where. says, says_zh: what is wrong. finds: the checks that can find it.

    replaced: the wrong machine for each right one. settings: of the protocol, that bring the mistake out.
    """

    name: str
    protocol: str
    says: str
    says_zh: str
    finds: tuple[str, ...]
    replaced: Mapping[type[Machine], type[Machine]]
    settings: Mapping[str, Any] = field(default_factory=dict)


class _ForgetfulSlots(Slots):
    """Promises without writing it down."""

    def __init__(self, owner: Machine) -> None:
        super().__init__(owner)
        self._granted: dict[int, Epoch] = {}

    def promised(self, slot: int) -> Epoch:
        return max(super().promised(slot), self._granted.get(slot, super().promised(slot)))

    def prepare(self, slot: int, epoch: Epoch, answer: Answer) -> None:
        if epoch < self.promised(slot):
            answer("REFUSED", {"slot": slot, "epoch": epoch, "promised": self.promised(slot)})
            return
        self._granted[slot] = epoch
        answer("PROMISE", {"slot": slot, "epoch": epoch, "accepted": self.accepted(slot)})


class _ForgetfulAcceptor(paxos2.Acceptor):
    SLOTS = _ForgetfulSlots


class _ForgetfulServer(paxos_log.Server):
    SLOTS = _ForgetfulSlots


class _PermissiveSlots(Slots):
    """Accepts any epoch, whatever it has promised."""

    def accept(self, slot: int, epoch: Epoch, value: Any, answer: Answer) -> None:
        def confirm() -> None:
            answer("ACCEPTED", {"slot": slot, "epoch": epoch})

        self._owner.write(f"accepted:{slot}", [epoch, value], confirm)


class _PermissiveAcceptor(paxos2.Acceptor):
    SLOTS = _PermissiveSlots


class _HastySlots(Slots):
    """Answers at once, and writes behind it."""

    def accept(self, slot: int, epoch: Epoch, value: Any, answer: Answer) -> None:
        super().accept(slot, epoch, value, lambda kind, fields: answer(kind, fields) if kind == "REFUSED" else None)
        if epoch >= self.promised(slot):
            answer("ACCEPTED", {"slot": slot, "epoch": epoch})


class _HastyAcceptor(paxos2.Acceptor):
    SLOTS = _HastySlots


class _FirstAttempt(Attempt):
    """Adopts the first value that was reported, not that of the newest epoch."""

    def adopt(self) -> None:
        self.accepting = True
        reports = [report for report in self._promises.values() if report is not None]
        if reports:
            self.value = reports[0][1]


class _FirstProposals(Proposals):
    ATTEMPT = _FirstAttempt


class _FirstProposer(paxos.Proposer):
    PROPOSALS = _FirstProposals


class _StubbornAttempt(Attempt):
    """Proposes its own value, whatever was reported."""

    def adopt(self) -> None:
        self.accepting = True


class _StubbornProposals(Proposals):
    ATTEMPT = _StubbornAttempt


class _StubbornProposer(paxos.Proposer):
    PROPOSALS = _StubbornProposals


class _CountingAttempt(Attempt):
    """Takes a value for chosen that a majority has, though from different epochs: the notes' words, read literally."""

    def chosen_already(self) -> tuple[Epoch, Any] | None:
        reports = [report for report in self._promises.values() if report is not None]
        for report in reports:
            if sum(each[1] == report[1] for each in reports) >= self.majority:
                return report
        return None


class _CountingProposals(Proposals):
    ATTEMPT = _CountingAttempt


class _CountingProposer(paxos.Proposer):
    PROPOSALS = _CountingProposals


class _ReusingProposer(paxos.Proposer):
    """Keeps its counter in memory only: after a restart it uses an epoch again."""

    def start(self) -> None:
        self.stored.pop("counter", None)


class _OpenAcceptor(paxos1.Acceptor):
    """Gives the lock to whoever asks."""

    def _prepare(self, sender: str, fields: Mapping[str, Any]) -> None:
        token = fields["token"]

        def grant() -> None:
            self.send(sender, "promise", "GRANTED", token=token, value=self.stored.get("value"))

        self.write("lock", token, grant)


class _OverwritingAcceptor(paxos1.Acceptor):
    """Forgets to keep the lock on disk: after a restart it is free, and a late value overwrites another."""

    def start(self) -> None:
        self.stored.pop("lock", None)
        self.stored.pop("value", None)


class _HastyCoordinator(twophase.Coordinator):
    """Tells the decision before it is on disk."""

    def decide(self, txn: int, decision: str) -> None:
        self._running[txn].phase = "deciding"
        self.set_timer(f"phase:{txn}", None)
        self.tell(txn, decision)
        self.write(f"decision:{txn}", decision)


class _OptimisticCoordinator(twophase.Coordinator):
    """Counts a missing vote as a yes."""

    def time_up(self, txn: int, running: twophase.Running) -> None:
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


class _FickleParticipant(twophase.Participant):
    """Obeys whatever it is told last."""

    def obey(self, txn: int, decision: str, sender: str | None) -> None:
        if self.branch.stage(txn) == "aborted" and decision == twophase.COMMIT:
            self.branch.commit(txn, lambda: None)
        else:
            super().obey(txn, decision, sender)


PLANTS: Mapping[str, Plant] = {
    plant.name: plant
    for plant in (
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
        Plant(
            "paxos1-lock-not-kept", "paxos1",
            "the acceptor gives the lock to whoever asks",
            "接受者把锁发给任何申请者",
            ("V2", "V1"), {paxos1.Acceptor: _OpenAcceptor},
        ),
        Plant(
            "paxos1-forgets", "paxos1",
            "the acceptor has forgotten lock and value after a restart",
            "接受者重启后忘了锁和取值",
            ("V1", "V2"), {paxos1.Acceptor: _OverwritingAcceptor},
        ),
        Plant(
            "paxos2-old-epoch", "paxos2",
            "the acceptor takes values from any epoch",
            "接受者接受任何 epoch 提交的取值",
            ("V2", "V1"), {paxos2.Acceptor: _PermissiveAcceptor},
        ),
        Plant(
            "paxos2-clock", "paxos2",
            "epochs are clock times without an id",
            "以不带编号的时间戳为 epoch",
            ("V2", "V1"), {}, {"epochs": "clock"},
        ),
        Plant(
            "paxos-promise-not-stored", "paxos",
            "an acceptor promises without writing it down, and has forgotten it after a restart",
            "接受者的承诺没有落盘，重启后就忘了",
            ("P5", "P4", "P1"), {paxos2.Acceptor: _ForgetfulAcceptor},
        ),
        Plant(
            "paxos-accept-below-promise", "paxos",
            "an acceptor accepts an epoch below its promise",
            "接受者接受了小于其承诺的 epoch",
            ("P4", "P1"), {paxos2.Acceptor: _PermissiveAcceptor},
        ),
        Plant(
            "paxos-accepted-before-disk", "paxos",
            "an acceptor answers before the value is on disk",
            "接受者尚未落盘就应答",
            ("P5",), {paxos2.Acceptor: _HastyAcceptor},
        ),
        Plant(
            "paxos-adopts-first", "paxos",
            "a proposer adopts the first value that was reported, not that of the newest epoch",
            "提议者采用最先收到的取值，而不是最大 accepted_epoch 的取值",
            ("P3", "P1"), {paxos.Proposer: _FirstProposer},
        ),
        Plant(
            "paxos-own-value", "paxos",
            "a proposer proposes its own value, though a promise came with one",
            "承诺里已经带有取值，提议者却仍提议自己的值",
            ("P3", "P1"), {paxos.Proposer: _StubbornProposer},
        ),
        Plant(
            "paxos-counts-values", "paxos",
            "a proposer takes a value for chosen that a majority has from different epochs",
            "多数派取值相同但 epoch 不同，提议者就当作已选定",
            ("P8",), {paxos.Proposer: _CountingProposer},
        ),
        Plant(
            "paxos-epoch-reused", "paxos",
            "a proposer uses an epoch again after a restart",
            "提议者重启后重复使用 epoch",
            ("P6", "P1"), {paxos.Proposer: _ReusingProposer},
        ),
        Plant(
            "paxos-log-promise-not-stored", "paxos_log",
            "a server promises without writing it down",
            "服务器的承诺没有落盘",
            ("P5", "P4", "P1"), {paxos_log.Server: _ForgetfulServer},
        ),
    )
}  # fmt: skip


def plant_of(name: str) -> Plant:
    """The planted bug with this name. Raises BadArguments if there is none."""
    found = PLANTS.get(name)
    if found is None:
        raise BadArguments("", f"no planted bug is called {name!r}: expected one of {', '.join(PLANTS)}")
    return found
