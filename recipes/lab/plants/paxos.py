"""Planted bugs of Paxos, in its steps and per log entry."""

from collections.abc import Mapping
from typing import Any

from recipes.core.agree import mutual_exclusion, paxos, paxos_log
from recipes.core.agree.acceptor import Acceptor, Answer, Slots
from recipes.core.agree.epochs import Epoch
from recipes.core.agree.machine import Machine, Place
from recipes.core.agree.paxos import Attempt, Proposals
from recipes.lab.plants.plant import Plant


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


class _ForgetfulAcceptor(Acceptor):
    SLOTS = _ForgetfulSlots


class _ForgetfulServer(paxos_log.Server):
    SLOTS = _ForgetfulSlots


class _PermissiveSlots(Slots):
    """Accepts any epoch, whatever it has promised."""

    def accept(self, slot: int, epoch: Epoch, value: Any, answer: Answer) -> None:
        def confirm() -> None:
            answer("ACCEPTED", {"slot": slot, "epoch": epoch})

        self._owner.write(f"accepted:{slot}", [epoch, value], confirm)


class _PermissiveAcceptor(Acceptor):
    SLOTS = _PermissiveSlots


class _HastySlots(Slots):
    """Answers at once, and writes behind it."""

    def accept(self, slot: int, epoch: Epoch, value: Any, answer: Answer) -> None:
        super().accept(slot, epoch, value, lambda kind, fields: answer(kind, fields) if kind == "REFUSED" else None)
        if epoch >= self.promised(slot):
            answer("ACCEPTED", {"slot": slot, "epoch": epoch})


class _HastyAcceptor(Acceptor):
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


class _InventiveAttempt(Attempt):
    """Proposes a value that nobody has asked for."""

    def adopt(self) -> None:
        super().adopt()
        self.value = [self.value]


class _InventiveProposals(Proposals):
    ATTEMPT = _InventiveAttempt


class _InventiveProposer(paxos.Proposer):
    PROPOSALS = _InventiveProposals


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


class _LonelyNumberer(paxos_log.Server):
    """Takes the first slot that it does not know to be in use, and asks nobody."""

    def _ask_last(self, number: int) -> None:
        numbering = self._numbering.pop(number)
        self._decide(number, max(numbering.last, self._taken) + 1, numbering.command)


class _OrderlyServer(paxos_log.Server):
    """Answers a call only once all slots before its own are executed, and fills no hole."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._unanswered: dict[int, int] = {}  # by slot: the call

    def reply(self, call: int, outcome: str, value: Any) -> None:
        if outcome == "ok" and value > len(self._executed):
            self._unanswered[value] = call
            return
        super().reply(call, outcome, value)

    def _execute(self) -> None:
        super()._execute()
        for slot in [slot for slot in self._unanswered if slot <= len(self._executed)]:
            self.reply(self._unanswered.pop(slot), "ok", slot)


class _OpenAcceptor(mutual_exclusion.Acceptor):
    """Gives the lock to whoever asks."""

    def _prepare(self, sender: str, fields: Mapping[str, Any]) -> None:
        token = fields["token"]

        def grant() -> None:
            self.send(sender, "promise", "GRANTED", token=token, value=self.stored.get("value"))

        self.write("lock", token, grant)


class _OverwritingAcceptor(mutual_exclusion.Acceptor):
    """Forgets to keep the lock on disk: after a restart it is free, and a late value overwrites another."""

    def start(self) -> None:
        self.stored.pop("lock", None)
        self.stored.pop("value", None)


PLANTS = (
    Plant(
        "paxos1-lock-not-kept", "paxos1",
        "the acceptor gives the lock to whoever asks",
        "接受者把锁发给任何申请者",
        ("V2", "V1"), {mutual_exclusion.Acceptor: _OpenAcceptor},
    ),
    Plant(
        "paxos1-forgets", "paxos1",
        "the acceptor has forgotten lock and value after a restart",
        "接受者重启后忘了锁和取值",
        ("V1", "V2"), {mutual_exclusion.Acceptor: _OverwritingAcceptor},
    ),
    Plant(
        "paxos2-old-epoch", "paxos2",
        "the acceptor takes values from any epoch",
        "接受者接受任何 epoch 提交的取值",
        ("V2", "V1"), {Acceptor: _PermissiveAcceptor},
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
        ("P5", "P4", "P1"), {Acceptor: _ForgetfulAcceptor},
    ),
    Plant(
        "paxos-accept-below-promise", "paxos",
        "an acceptor accepts an epoch below its promise",
        "接受者接受了小于其承诺的 epoch",
        ("P4", "P1"), {Acceptor: _PermissiveAcceptor},
    ),
    Plant(
        "paxos-accepted-before-disk", "paxos",
        "an acceptor answers before the value is on disk",
        "接受者尚未落盘就应答",
        ("P5",), {Acceptor: _HastyAcceptor},
    ),
    Plant(
        "paxos-adopts-first", "paxos",
        "a proposer adopts the first value that was reported, not that of the newest epoch",
        "提议者采用最先收到的取值，而不是最大 accepted_epoch 的取值",
        ("P3", "P1"), {paxos.Proposer: _FirstProposer},
    ),
    Plant(
        "paxos-invents-value", "paxos",
        "a proposer proposes a value that nobody has asked for",
        "提议者提出了没有人请求过的值",
        ("P2",), {paxos.Proposer: _InventiveProposer},
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
    Plant(
        "paxos-log-numbers-alone", "paxos_log",
        "a server takes the first slot that it does not know to be in use, without asking a majority",
        "服务器不询问多数派，直接使用自己认为空闲的编号",
        ("A6",), {paxos_log.Server: _LonelyNumberer},
    ),
    Plant(
        "paxos-log-answers-in-order", "paxos_log",
        "a server answers a call only once all slots before its own are executed, and nobody fills a hole",
        "服务器等前面的编号全部执行后才应答，却没有人填补空洞",
        ("L1",), {paxos_log.Server: _OrderlyServer},
    ),
)  # fmt: skip
