"""Planted bugs of Multi-Paxos."""

from collections.abc import Callable, Mapping
from typing import Any

from recipes.core.agree.epochs import NO_EPOCH, Epoch, epoch_of
from recipes.core.agree.machine import Place
from recipes.core.agree.multipaxos import Server
from recipes.core.agree.register import NO_OP
from recipes.lab.plants.plant import Plant


class _Forgetful(Server):
    """Promises without waiting for its disk, and the disk is never told."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._told = self.promised()

    def promised(self) -> Epoch:
        return max(super().promised(), getattr(self, "_told", super().promised()))

    def write(self, key: str, value: Any, then: Callable[[], None] | None = None) -> None:
        if key != "promised":
            super().write(key, value, then)
            return
        self._told = value
        if then is not None:
            then()


class _Permissive(Server):
    """Accepts any number, whatever it has promised."""

    def _accept(self, sender: str, fields: Mapping[str, Any]) -> None:
        slot, epoch = fields["slot"], epoch_of(fields["epoch"])
        self.write(
            f"accepted:{slot}",
            [epoch, fields["value"]],
            lambda: self.send(sender, "accepted", "ACCEPTED", epoch=epoch, slot=slot),
        )


class _FirstReport(Server):
    """Takes the first value that was reported for a slot, not that with the largest number."""

    def merge(self, reports: list[Mapping[str, Any]]) -> tuple[dict[int, Any], dict[int, Any]]:
        chosen, _ = super().merge(reports)
        first: dict[int, Any] = {}
        for report in reports:
            for slot, _, value in report["accepted"]:
                if slot not in chosen and slot not in self.chosen:
                    first.setdefault(slot, value)
        return chosen, first


class _DeafLeader(Server):
    """Collects what the promises report, and never uses it."""

    def merge(self, reports: list[Mapping[str, Any]]) -> tuple[dict[int, Any], dict[int, Any]]:
        chosen, _ = super().merge(reports)
        return chosen, {}


class _CarelessCounter(Server):
    """Counts acceptances without their number."""

    def _accepted(self, sender: str, fields: Mapping[str, Any]) -> None:
        if self.role == "leader":
            self._count(sender, fields["slot"])

    def _refused(self, sender: str, fields: Mapping[str, Any]) -> None:
        """Counts a refusal for an answer, like an acceptance without its sender."""
        if self.role == "leader" and self._votes:
            self._count(f"{sender} again", min(self._votes))
        super()._refused(sender, fields)


class _ReusedBallot(Server):
    """Chooses its number without what it has promised: after a restart it uses one again."""

    def choose_ballot(self) -> Epoch:
        return (self._seen[0] + 1, self.me)

    def start(self) -> None:
        super().start()
        self._seen = NO_EPOCH


class _HoleSkipper(Server):
    """Executes what is chosen, holes or not."""

    def _execute(self) -> None:
        for slot in sorted(self.chosen):
            if slot > len(self.executed):
                number, command = self.chosen[slot]
                self.executed.append(command)
                self._tell(number, *self._register.execute(command))


class _HoleCloser(Server):
    """Takes a hole that a new leader finds for a no-op at once, without a vote on it."""

    def _propose(self, slot: int, value: Any) -> None:
        if value == NO_OP:
            self._mark(slot, value)
        else:
            super()._propose(slot, value)


class _EarlyMarker(Server):
    """Marks an entry as chosen by its own acceptance alone."""

    def _count(self, voter: str, slot: int) -> None:
        if slot in self._votes and voter == self.me:
            self._votes[slot].update(self.others)
        super()._count(voter, slot)


class _NoOpFiller(Server):
    """Fills every slot that is not marked as chosen with a no-op."""

    def merge(self, reports: list[Mapping[str, Any]]) -> tuple[dict[int, Any], dict[int, Any]]:
        chosen, proposals = super().merge(reports)
        return chosen, dict.fromkeys(proposals, NO_OP)


class _Meek(Server):
    """Waits for a leader for ever once there was one."""

    def timer(self, name: str) -> None:
        if name != "suspect" or self.promised() == NO_EPOCH:
            super().timer(name)


PLANTS = (
    Plant(
        "multi-promise-not-stored", "multi-paxos",
        "a server promises without writing it down",
        "服务器的承诺没有落盘",
        ("P5", "P4", "P1"), {Server: _Forgetful},
    ),
    Plant(
        "multi-accept-below-promise", "multi-paxos",
        "a server accepts a number below its promise",
        "服务器接受了小于其承诺的编号",
        ("P4", "P1"), {Server: _Permissive},
    ),
    Plant(
        "multi-adopts-first", "multi-paxos",
        "a new leader takes the first value that was reported for a slot",
        "新 leader 采用最先收到的取值，而不是编号最大的",
        ("P3", "P1"), {Server: _FirstReport},
    ),
    Plant(
        "multi-reports-unused", "multi-paxos",
        "a new leader collects what the promises report and never uses it",
        "新 leader 收集了承诺里的日志，却从不使用",
        ("P3", "P1"), {Server: _DeafLeader},
    ),
    Plant(
        "multi-counts-anything", "multi-paxos",
        "a leader counts answers without their number or sender",
        "leader 统计应答时不看编号，也不看发送者",
        ("P8", "A4"), {Server: _CarelessCounter},
    ),
    Plant(
        "multi-ballot-reused", "multi-paxos",
        "a server uses a number again after a restart",
        "服务器重启后重复使用编号",
        ("P6", "P1"), {Server: _ReusedBallot},
    ),
    Plant(
        "multi-executes-past-hole", "multi-paxos",
        "a server executes past a hole",
        "服务器跳过空洞继续执行",
        ("P7", "A2"), {Server: _HoleSkipper},
    ),
    Plant(
        "multi-hole-skipped", "multi-paxos",
        "a new leader takes a hole for a no-op, without a vote on it",
        "新 leader 未经投票就把空洞当作 no-op",
        ("P7",), {Server: _HoleCloser},
    ),
    Plant(
        "multi-marked-early", "multi-paxos",
        "an entry is marked as chosen before a majority has it",
        "尚未形成多数派就标记为已选定",
        ("A4", "P7"), {Server: _EarlyMarker},
    ),
    Plant(
        "multi-noop-over-value", "multi-paxos",
        "a new leader proposes a no-op over a value that was reported",
        "新 leader 用 no-op 覆盖了已报告的取值",
        ("P3", "P1"), {Server: _NoOpFiller},
    ),
    Plant(
        "multi-never-stands-again", "multi-paxos",
        "nobody stands for leader once there was one",
        "有过 leader 之后，再也没有人参选",
        ("L1",), {Server: _Meek},
    ),
)  # fmt: skip
