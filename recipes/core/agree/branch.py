"""A participant's data in an atomic commit: values, locks, and a log with what is needed to undo and to redo.

A transaction changes values in place, under locks, and its record says how to undo and to redo that. Somebody else who
reads a locked value waits until the transaction is over: `read`. `peek` shows the value that was committed last.
"""

from collections.abc import Callable, Mapping
from typing import Any

from recipes.core.agree.machine import Machine

VOTED, PREPARED, COMMITTED, ABORTED = "voted", "prepared", "committed", "aborted"
DECIDED = (COMMITTED, ABORTED)


class Branch:
    """The data of one participant. Locks are not on disk: they follow from the records of transactions under way."""

    def __init__(self, owner: Machine) -> None:
        self._owner = owner
        self._waiting: list[tuple[int, str]] = []  # reads that wait for a lock: call and key

    def stage(self, txn: int) -> str | None:
        """How far a transaction has come here; None if it is not known."""
        record = self._owner.stored.get(f"txn:{txn}")
        return record["stage"] if record else None

    def record(self, txn: int) -> Mapping[str, Any]:
        """The record of a transaction."""
        found: Mapping[str, Any] = self._owner.stored[f"txn:{txn}"]
        return found

    def open(self) -> list[int]:
        """The transactions that have voted and are not decided here."""
        return [
            int(key.partition(":")[2])
            for key, record in self._owner.stored.items()
            if key.startswith("txn:") and record["stage"] not in DECIDED
        ]

    def locks(self) -> dict[str, int]:
        """Each locked key, and the transaction that has locked it."""
        return {key: txn for txn in self.open() for key in self.record(txn)["redo"]}

    def values(self) -> dict[str, Any]:
        """All values, as they are now."""
        return {key[6:]: value for key, value in self._owner.stored.items() if key.startswith("value:")}

    def is_free(self, changes: Mapping[str, Any]) -> bool:
        """Whether nobody has locked what is to be changed."""
        locks = self.locks()
        return not any(key in locks for key in changes)

    def reserve(self, txn: int, changes: Mapping[str, Any], then: Callable[[], None]) -> None:
        """Lock what is to be changed, without changing it."""
        self._owner.write(f"txn:{txn}", {"stage": VOTED, "redo": dict(changes), "undo": {}}, then)

    def execute(self, txn: int, changes: Mapping[str, Any], then: Callable[[], None]) -> None:
        """Change the values in place, and write down how to undo and to redo that."""
        undo = {key: self._owner.stored.get(f"value:{key}") for key in changes}
        self._owner.write(f"txn:{txn}", {"stage": PREPARED, "redo": dict(changes), "undo": undo})
        for key, value in changes.items():
            self._owner.write(f"value:{key}", value)
        self._owner.write(f"executed:{txn}", True, then)

    def commit(self, txn: int, then: Callable[[], None]) -> None:
        """End a transaction: its changes stay."""
        redo = dict(self.record(txn)["redo"])
        for key, value in redo.items():
            self._owner.write(f"value:{key}", value)
        self._end(txn, COMMITTED, redo, then)

    def roll_back(self, txn: int, then: Callable[[], None]) -> None:
        """End a transaction: its changes are undone. One that is not known here can never be voted for any more."""
        record = self._owner.stored.get(f"txn:{txn}", {"redo": {}, "undo": {}})
        for key, value in record["undo"].items():
            self._owner.write(f"value:{key}", value)
        self._end(txn, ABORTED, record["redo"], then)

    def read(self, call: int, key: str) -> None:
        """Answer with a value, as soon as nobody has locked it."""
        self._waiting.append((call, key))
        self.serve()

    def peek(self, key: str) -> Any:
        """The value that was committed last, whatever is under way."""
        txn = self.locks().get(key)
        if txn is not None and key in self.record(txn)["undo"]:
            return self.record(txn)["undo"][key]
        return self._owner.stored.get(f"value:{key}")

    def serve(self) -> None:
        """Answer the reads whose value is free."""
        locks = self.locks()
        free = [each for each in self._waiting if each[1] not in locks]
        self._waiting = [each for each in self._waiting if each[1] in locks]
        for call, key in free:
            self._owner.reply(call, "ok", self._owner.stored.get(f"value:{key}"))

    def _end(self, txn: int, stage: str, redo: Mapping[str, Any], then: Callable[[], None]) -> None:
        def done() -> None:
            self.serve()
            then()

        self._owner.write(f"txn:{txn}", {"stage": stage, "redo": dict(redo)}, done)
