"""What a server puts on its disk, as the writes of a trace: a key and its new value each."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from recipes.core.replication import SECRET_CELL, Cell, Entry, InstallSnapshot, Recovered, Truncate, Write
from recipes.lab.served.text import entry_text, zxid_text

_SECRET = "secret"  # stands for the value of a cell that nobody must read


class Writes:
    """The writes of one server, counted over all its lives.

    text: says what an entry does. log: zxid -> the text of its txn. count: how many writes there were.
    """

    def __init__(self, text: Callable[[Entry], str] = entry_text) -> None:
        self.log: dict[int, str] = {}
        self.count: int = 0
        self._text = text

    def stored(self, found: Recovered) -> dict[str, Any]:
        """What recovery has found: the server starts with it."""
        self.log = {entry.zxid: self._text(entry) for entry in found.history}
        stored: dict[str, Any] = {f"log:{zxid_text(zxid)}": text for zxid, text in self.log.items()}
        stored["base"] = zxid_text(found.base_zxid)
        return stored | {name: _cell_value(name, value) for name, value in sorted(found.cells.items())}

    def of(self, writes: Sequence[Write]) -> Iterator[dict[str, Any]]:
        """The fields of a `write` for each key that these change."""
        for write in writes:
            for what, value, size in self._changes(write):
                self.count += 1
                yield {"number": self.count, "what": what, "value": value, "bytes": size}

    def _changes(self, write: Write) -> Iterator[tuple[str, Any, int]]:
        if isinstance(write, Entry):
            text = self.log[write.zxid] = self._text(write)
            yield f"log:{zxid_text(write.zxid)}", text, len(write.payload)
        elif isinstance(write, Cell):
            yield write.name, _cell_value(write.name, write.value), len(write.value)
        else:
            yield from self._replaced(write)

    def _replaced(self, operation: Truncate | InstallSnapshot) -> Iterator[tuple[str, Any, int]]:
        gone = [zxid for zxid in self.log if zxid > operation.zxid or isinstance(operation, InstallSnapshot)]
        for zxid in gone:
            del self.log[zxid]
            yield f"log:{zxid_text(zxid)}", None, 0
        if isinstance(operation, InstallSnapshot):
            yield "base", zxid_text(operation.zxid), len(operation.body)
        elif not gone:
            yield "cut", zxid_text(operation.zxid), 0


def _cell_value(name: str, value: bytes) -> int | str:
    """The value of a cell: a number where it is one."""
    if name == SECRET_CELL:
        return _SECRET
    text = value.decode("utf-8", "replace").strip()
    return int(text) if text.removeprefix("-").isdigit() else text
