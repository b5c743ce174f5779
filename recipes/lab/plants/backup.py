"""Planted bugs of primary-backup, and of copies in one sequence."""

from typing import Any

from recipes.core.agree import backup, copies
from recipes.lab.plants.plant import Plant


class _EarlyPrimary(backup.Server):
    """Answers at the first copy."""

    def held_by_all(self) -> int:
        return max((self.held_by.get(each, 0) for each in self.set()), default=self.last)


class _HastyPrimary(backup.Server):
    """Copies an entry before it is on its own disk."""

    def _append(self, entry: list[Any]) -> None:
        super()._append(entry)
        self.copy_new(self.last)


class _GapTaker(backup.Server):
    """Takes every entry, whatever is missing before it."""

    def accepts(self, index: int) -> bool:
        return index > self.last

    def _rebuild(self) -> None:
        """With gaps there is nothing to rebuild from."""

    def _promote(self, number: int, fenced: bool) -> None:
        self.reply(number, "fail", "has gaps")


class _OnceOnly(backup.Server):
    """Sends each copy once."""

    def _set_timers(self) -> None:
        """Nothing is sent again."""


class _UnfencedOperator(backup.Server):
    """Promotes without making the others refuse the old primary."""

    def call(self, number: int, operation: list[Any]) -> None:
        super().call(number, ["promote", False] if operation[0] == "promote" else operation)


class _ImpatientCopy(copies.Copy):
    """Executes operations as they arrive, though they are numbered."""

    def _arrive(self, operation: list[Any], call: int | None) -> None:
        self._execute(operation, call)


PLANTS = (
    Plant(
        "backup-replies-at-first-copy", "primary-backup",
        "the primary answers when the first backup has the write",
        "第一个从节点返回后，主节点就应答",
        ("B1",), {backup.Server: _EarlyPrimary},
    ),
    Plant(
        "backup-copies-before-own-disk", "primary-backup",
        "the primary copies an entry before it is on its own disk, and may use its place again after a power cut",
        "主节点尚未落盘就复制日志，断电后可能重复使用同一位置",
        ("B2", "B1"), {backup.Server: _HastyPrimary},
    ),
    Plant(
        "backup-takes-gaps", "primary-backup",
        "a backup takes an entry without the one before it",
        "从节点缺少前一条日志也照样接收",
        ("B2",), {backup.Server: _GapTaker},
    ),
    Plant(
        "backup-promoted-unfenced", "primary-backup",
        "a backup is promoted, and the old primary is not refused",
        "提升从节点时没有隔离旧的主节点",
        ("B3", "B2"), {backup.Server: _UnfencedOperator},
    ),
    Plant(
        "backup-sends-once", "primary-backup",
        "the primary sends each copy once, and never again",
        "主节点每条日志只发送一次，从不重发",
        ("L1",), {backup.Server: _OnceOnly},
    ),
    Plant(
        "copies-executes-on-arrival", "copies",
        "numbered operations are executed as they arrive",
        "操作带有编号，副本却按到达顺序执行",
        ("A2",), {copies.Copy: _ImpatientCopy},
    ),
)  # fmt: skip
