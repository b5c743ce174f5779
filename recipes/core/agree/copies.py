"""Copies without agreement: each site executes a write at once, answers, and tells the others later.

`order="arrival"`: operations are executed as they arrive, so that copies may diverge. `order="sequence"`: each has a
number, and all copies execute them by number. The same start and the same sequence give the same end.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from recipes.core.agree.machine import Machine, Place, State

RESEND_MS = 30


class Copy(Machine):
    """One copy.

    Operations are ["set", K, V], ["add", K, N] and ["multiply", K, N]; with `order="sequence"` their number comes last.
    """

    CALLS: ClassVar[Mapping[str, tuple[int, ...]]] = {"set": (2, 3), "add": (2, 3), "multiply": (2, 3), "get": (1,)}
    HANDLERS: ClassVar[Mapping[str, str]] = {"COPY": "_copy", "COPIED": "_copied"}

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._others = tuple(each for each in place.sites["server"] if each != self.me)
        self._values: dict[str, Any] = {}
        self._executed: list[Any] = []
        self._held: dict[int, tuple[list[Any], int | None]] = {}  # operations whose turn has not come, by number
        self._known: set[int] = set()
        self._unconfirmed: dict[int, tuple[list[Any], set[str]]] = {}

    def start(self) -> None:
        """Execute again what is on the disk, in the order in which it was written."""
        entries = sorted((int(key[4:]), value) for key, value in self.stored.items() if key.startswith("log:"))
        for _, (number, operation) in entries:
            self._known.add(number)
            self._arrive(operation, None)

    def describe(self) -> State:
        """Its values, and the operations in the order in which it executed them."""
        shown = (("executed", tuple(self._executed)), ("values", tuple(sorted(self._values.items()))))
        return State("copy", applied=len(self._executed), details=(*shown, ("waiting", len(self._held))))

    def call(self, number: int, operation: list[Any]) -> None:
        """An operation, or ["get", K]: the value here and now."""
        if operation[0] == "get":
            self.reply(number, "ok", self._values.get(operation[1]))
            return

        def tell() -> None:
            self._arrive(operation, number)
            self._unconfirmed[number] = (operation, set(self._others))
            self._send(number)

        self._keep(number, operation, tell)

    def timer(self, name: str) -> None:
        """Tell again what was not confirmed."""
        self._send(int(name.partition(":")[2]))

    def _keep(self, number: int, operation: list[Any], then: Any) -> None:
        self._known.add(number)
        self.write(f"log:{len(self._known)}", [number, operation], then)

    def _send(self, number: int) -> None:
        operation, missing = self._unconfirmed[number]
        for each in self._others:
            if each in missing:
                self.send(each, "replicate", "COPY", number=number, operation=operation)
        if missing:
            self.set_timer(f"send:{number}", self.setting("resend_ms", RESEND_MS))

    def _copy(self, sender: str, fields: Mapping[str, Any]) -> None:
        number, operation = fields["number"], fields["operation"]

        def confirm() -> None:
            self.send(sender, "ack", "COPIED", number=number)

        if number in self._known:
            confirm()
            return

        def arrived() -> None:
            self._arrive(operation, None)
            confirm()

        self._keep(number, operation, arrived)

    def _copied(self, sender: str, fields: Mapping[str, Any]) -> None:
        if fields["number"] in self._unconfirmed:
            self._unconfirmed[fields["number"]][1].discard(sender)

    def _arrive(self, operation: list[Any], call: int | None) -> None:
        if self.setting("order", "arrival") == "arrival":
            self._execute(operation, call)
            return
        self._held[operation[-1]] = (operation, call)
        while len(self._executed) + 1 in self._held:
            self._execute(*self._held.pop(len(self._executed) + 1))

    def _execute(self, operation: list[Any], call: int | None) -> None:
        what, key, value = operation[:3]
        before = self._values.get(key, 0)
        self._values[key] = value if what == "set" else before + value if what == "add" else before * value
        self._executed.append(operation)
        if call is not None:
            self.reply(call, "ok", self._values[key])
