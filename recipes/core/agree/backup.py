"""Primary-backup: one primary, which answers a write once all backups in its set have it on disk.

It sends again for ever, so that one backup that is down blocks all writes; reads go on at every copy. `degrade_ms` lets
the primary drop a backup that has not answered for so long, and with it the promise that the backup has everything. An
operator promotes a backup: `["promote", true]` first makes the others refuse the old primary, since its fence is older;
`["promote", false]` does not.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from recipes.core.agree.machine import Machine, Place, State

RESEND_MS = 30
FIRST_PRIMARY = "s1"
Fence = tuple[int, str]


def fence_of(value: Any) -> Fence:
    """A fence as it came from a disk or in a message."""
    return (value[0], value[1]) if value is not None else (0, FIRST_PRIMARY)


class Server(Machine):
    """A primary or a backup. An entry of the log is its fence, the number of its call, and the command."""

    CALLS: ClassVar[Mapping[str, tuple[int, ...]]] = {"set": (2,), "get": (1,), "promote": (1,)}
    HANDLERS: ClassVar[Mapping[str, str]] = {
        "COPY": "_copy",
        "COPIED": "_copied",
        "FENCE": "_fenced_off",
        "FENCED": "_fenced",
        "REFUSED": "_refused",
    }

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.others: tuple[str, ...] = tuple(each for each in place.sites["server"] if each != self.me)
        self.role: str = "primary" if self.me == FIRST_PRIMARY else "backup"
        self.last: int = 0
        self.held_by: dict[str, int] = {}  # how much of the log each site is known to have on disk, this one included
        self._sent: dict[str, int] = {}  # the last entry that was sent to each backup
        self._values: dict[str, Any] = {}
        self._calls: dict[int, tuple[int, Any]] = {}  # by index of the log: the call to answer, and its value
        self._promotion: int | None = None
        self._dropping = False  # a smaller set is on its way to the disk
        self._impatient = False  # the timer that drops silent backups is set

    def start(self) -> None:
        """Read the log; a primary that was deposed, or never knew, says so when it is refused."""
        self.role = self.stored.get("role", self.role)
        while f"log:{self.last + 1}" in self.stored:
            self.last += 1
            self._apply(self.last)
        self.held_by = {self.me: self.last}
        if self.role == "primary":
            self._send()

    def describe(self) -> State:
        """Its role, its fence, its log and its values."""
        found = (self.stored.get(f"log:{index}") for index in range(1, self.last + 1))
        entries = tuple(entry[2] for entry in found if entry is not None)
        shown = (("log", entries), ("values", tuple(sorted(self._values.items()))), ("set", tuple(self.set())))
        return State(self.role, self.fence(), None, self.last, None, self.last, shown)

    def fence(self) -> Fence:
        """The newest fence that this site knows of."""
        return fence_of(self.stored.get("fence"))

    def set(self) -> list[str]:
        """The backups that must have a write before it is answered."""
        found: list[str] = self.stored.get("set", list(self.others))
        return found if self.role == "primary" else []

    def call(self, number: int, operation: list[Any]) -> None:
        """["set", K, V] at the primary; ["get", K] anywhere; ["promote", FENCED] by an operator."""
        if operation[0] == "get":
            self.reply(number, "ok", self._values.get(operation[1]))
        elif operation[0] == "promote":
            self._promote(number, bool(operation[1]))
        elif self.role == "primary":
            self._append([self.fence(), number, operation])
            self._calls[self.last] = (number, operation[2])
        else:
            self.reply(number, "fail", "not the primary")

    def timer(self, name: str) -> None:
        """Send again what was not confirmed, or drop the backups that do not answer."""
        if name == "send":
            self._send()
        elif self.role == "primary":
            self._impatient = False
            silent = [each for each in self.set() if self.held_by.get(each, 0) < self.last]
            if silent:
                self._dropping = True
                self.write("set", [each for each in self.set() if each not in silent], self._dropped)

    # The primary.

    def _dropped(self) -> None:
        self._dropping = False
        self._answer()

    def _append(self, entry: list[Any]) -> None:
        self.last += 1
        index = self.last
        self._apply_entry(entry)

        def held() -> None:
            self.held_by[self.me] = max(self.held_by.get(self.me, 0), index)
            self.copy_new(index)
            self._answer()

        self.write(f"log:{index}", entry, held)

    def copy_new(self, index: int) -> None:
        """An entry is on our own disk: copy it. Not before: a primary that lost it would use its place again."""
        if self.role == "primary":
            for each in self.set():
                if self._sent.get(each, 0) == index - 1:
                    self._send_entry(each, index)
            self._set_timers()

    def _send(self) -> None:
        """Send each backup what it lacks, in order."""
        if self.role != "primary":
            return
        for each in self.set():
            for index in range(self.held_by.get(each, 0) + 1, self.held_by.get(self.me, 0) + 1):
                self._send_entry(each, index)
        self._set_timers()

    def _set_timers(self) -> None:
        self.set_timer("send", self.setting("resend_ms", RESEND_MS))
        degrade_ms = self.setting("degrade_ms", None)
        if degrade_ms is not None and not self._impatient:
            self._impatient = True
            self.set_timer("degrade", degrade_ms)

    def _send_entry(self, to: str, index: int) -> None:
        self._sent[to] = index
        self.send(to, "replicate", "COPY", fence=self.fence(), index=index, entry=self.stored[f"log:{index}"])

    def _copied(self, sender: str, fields: Mapping[str, Any]) -> None:
        if self.role == "primary" and fence_of(fields["fence"]) == self.fence():
            self.held_by[sender] = max(self.held_by.get(sender, 0), fields["index"])
            self._answer()

    def held_by_all(self) -> int:
        """How much of the log everybody in the set has on disk."""
        return min(self.held_by.get(each, 0) for each in (self.me, *self.set()))

    def _answer(self) -> None:
        if self.role != "primary" or self._dropping:
            return
        held = self.held_by_all()
        for index in [index for index in self._calls if index <= held]:
            number, value = self._calls.pop(index)
            self.reply(number, "ok", value)
        if held == self.last:
            self.set_timer("send", None)
            self.set_timer("degrade", None)
            self._impatient = False

    def _refused(self, sender: str, fields: Mapping[str, Any]) -> None:
        """A newer primary is about."""
        if self.role == "primary" and fence_of(fields["newest"]) > self.fence():
            self._depose(fence_of(fields["newest"]), lambda: None)

    def _depose(self, fence: Fence, then: Callable[[], None]) -> None:
        self.role = "backup"
        self.write("role", "backup")
        self.write("fence", fence, then)
        calls, self._calls = self._calls, {}
        for number, _ in calls.values():
            self.reply(number, "fail", "deposed")

    # A backup.

    def _copy(self, sender: str, fields: Mapping[str, Any]) -> None:
        fence, index, entry = fence_of(fields["fence"]), fields["index"], fields["entry"]
        if fence < self.fence():
            self.send(sender, "ack", "REFUSED", newest=self.fence())
            return

        def confirm() -> None:
            self.send(sender, "ack", "COPIED", fence=fence, index=index)

        if fence > self.fence():
            self._depose(fence, lambda: None)
        if self.accepts(index):
            self.last = index
            self._apply_entry(entry)
            self.write(f"log:{index}", entry, confirm)
        elif index <= self.last:
            self.write("confirmed", index, confirm)  # behind the write that it confirms

    def accepts(self, index: int) -> bool:
        """Whether this is the next entry of the log."""
        return index == self.last + 1

    # Promotion.

    def _promote(self, number: int, fenced: bool) -> None:
        remaining = [each for each in self.others if each != FIRST_PRIMARY]
        self.write("set", remaining)
        if not fenced:
            self.write("role", "primary", lambda: self._take_over(number))
            return
        fence = (self.fence()[0] + 1, self.me)
        self._promotion = number

        def tell() -> None:
            self.held_by = {self.me: self.last}
            for each in remaining:
                self.send(each, "prepare", "FENCE", fence=fence, last=self.last)
            self._count_fenced(remaining)

        self.write("fence", fence, tell)

    def _fenced_off(self, sender: str, fields: Mapping[str, Any]) -> None:
        fence = fence_of(fields["fence"])
        if fence < self.fence():
            self.send(sender, "ack", "REFUSED", newest=self.fence())
            return
        while self.last > fields["last"]:  # nobody has acknowledged these: the new primary would have them
            self.write(f"log:{self.last}", None)
            self.last -= 1
        self._rebuild()
        last = self.last
        self._depose(fence, lambda: self.send(sender, "promise", "FENCED", fence=fence, last=last))

    def _fenced(self, sender: str, fields: Mapping[str, Any]) -> None:
        if fence_of(fields["fence"]) == self.fence() and self._promotion is not None:
            self.held_by[sender] = fields["last"]
            self._count_fenced(self.stored["set"])

    def _count_fenced(self, remaining: list[str]) -> None:
        if self._promotion is not None and all(each in self.held_by for each in remaining):
            number, self._promotion = self._promotion, None
            self.write("role", "primary", lambda: self._take_over(number))

    def _take_over(self, number: int) -> None:
        self.role = "primary"
        self.held_by = {**self.held_by, self.me: self.last}
        self._sent = dict(self.held_by)
        self.reply(number, "ok", "primary")
        self._send()

    # The copy.

    def _apply(self, index: int) -> None:
        self._apply_entry(self.stored[f"log:{index}"])

    def _apply_entry(self, entry: list[Any]) -> None:
        _, key, value = entry[2]
        self._values[key] = value

    def _rebuild(self) -> None:
        self._values = {}
        for index in range(1, self.last + 1):
            self._apply(index)
