"""Sites of a protocol without clock, chance or network: a test says which messages arrive, and a sync takes no time."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from recipes.core.agree.machine import Machine, Message, Place


class Sent(NamedTuple):
    """A message on its way."""

    sender: str
    to: str
    message: Message

    @property
    def kind(self) -> str:
        return self.message.kind


class Bench:
    """mail: messages on their way, oldest first. replies: to calls, by number."""

    def __init__(
        self,
        machines: Mapping[str, type[Machine]],
        sites: Mapping[str, tuple[str, ...]],
        settings: Mapping[str, Any] | None = None,
        stored: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.mail: list[Sent] = []
        self.replies: dict[int, tuple[str, Any]] = {}
        self.machines = {
            name: machine(Place(name, sites, settings or {}, (stored or {}).get(name, {}), lambda below: 0))
            for name, machine in machines.items()
        }
        for name, machine in self.machines.items():
            self.turn(name, machine.start)

    def turn(self, name: str, action: Callable[..., None], *arguments: Any) -> None:
        """One input of a site, and all that follows from it there."""
        machine = self.machines[name]
        action(*arguments)
        while True:
            effects = machine.take()
            self.mail += [Sent(name, to, message) for to, message in effects.messages]
            self.replies |= {reply.call: (reply.outcome, reply.value) for reply in effects.replies}
            if not effects.writes:
                return
            machine.flushed(effects.writes[-1].number)

    def call(self, name: str, number: int, *operation: Any) -> None:
        """A client's call."""
        self.turn(name, self.machines[name].call, number, list(operation))

    def deliver(self, *kinds: str, to: str | None = None, sender: str | None = None) -> list[Sent]:
        """Let the messages that are on their way now arrive, of these kinds and sites; all others stay."""
        now = [
            each
            for each in self.mail
            if (not kinds or each.kind in kinds) and to in (None, each.to) and sender in (None, each.sender)
        ]
        self.mail = [each for each in self.mail if each not in now]
        for each in now:
            if each.to in self.machines:
                self.turn(each.to, self.machines[each.to].receive, each.sender, each.message)
        return now

    def run(self) -> None:
        """Deliver until nothing is on its way."""
        while self.mail:
            self.deliver()
