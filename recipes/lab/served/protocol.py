"""What the laboratory has to know of a protocol that serves."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from recipes.core.agree.machine import Message
from recipes.core.jute.txns import Txn
from recipes.core.jute.votes import Notification
from recipes.core.replication import Cell, ReplicationProtocol

MOST_BYTES = 1 << 24  # of one message
Settings = Mapping[str, Any]
Replaced = Mapping[type[Any], type[Any]]


class Talk(Protocol):
    """Reads what one server sends over one connection: bytes of the quorum port become messages with a role.

    A role says what a message is for, in every protocol; `real` is its own name.
    """

    def hear(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete."""
        ...


class ServedProtocol(NamedTuple):
    """A protocol that serves.

    make(settings, replaced): the protocol with the options of a scenario. replaced: classes with a planted bug, by the
        right ones.
    usual: its options as it serves.
    talk(text): a new Talk. text: says what a txn does.
    notification(note): what a notification of the election port says.
    cells(epoch, accepted): the cells of a server whose log ends in one epoch or term, and that has accepted another.
    show(peer, name_of): what there is to see of a server, beside what describe.py shows of all.
    """

    name: str
    make: Callable[[Settings, Replaced], ReplicationProtocol]
    usual: Settings
    talk: Callable[[Callable[[Txn], str]], Talk]
    notification: Callable[[Notification], Message]
    cells: Callable[[int, int], list[Cell]]
    show: Callable[[Any, Callable[[int], str]], dict[str, Any]]

    def mode(self, settings: Settings) -> str:
        """ "served", or what differs from how it is served."""
        changed = [each for each, usual in self.usual.items() if settings.get(each, usual) != usual]
        return "served, but for " + ", ".join(changed) if changed else "served"
