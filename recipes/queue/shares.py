"""Which of the waiting items a consumer claims when there are several: each has a share of its own.

A claim of many items fails as a whole if somebody was faster with one of them. So each consumer that claims many items
at a time has an ephemeral znode among the queue's clients for as long as it consumes, and from the list of these they
all compute the same division: runs of neighbouring numbers go to one consumer after the other. It is a matter of speed
only. Who sees an outdated list, or has neither a message to hand out nor an item in its own share, claims items of
others, and whoever is faster gets them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from recipes.core.errors import NoNode
from recipes.queue.claims import ListedItem

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.client import Client

_RUN = 16  # items with neighbouring numbers that are in one share
_MARK = "-consumes"  # ends the name of a consumer's znode
_PRIORITY = 3  # characters at the beginning of a bucket's name

Found = tuple[str, ListedItem]  # bucket, item


class Place(NamedTuple):
    """A consumer's place among all of a queue's, in the order of their names."""

    rank: int = 0
    of: int = 1

    def share(self, found: Sequence[Found]) -> list[Found]:
        """Those of these items that are in this consumer's share."""
        return [each for each in found if int(each[1].number) // _RUN % self.of == self.rank]


def of_first_priority(found: Sequence[Found]) -> list[Found]:
    """Those of these items, which are in order, that have the priority of the first one.

    Shares divide no others: items of a lower priority in one's own share must not go ahead of a higher one that is in
    the share of a consumer that takes nothing now.
    """
    return [each for each in found if each[0][:_PRIORITY] == found[0][0][:_PRIORITY]]


def place_of(names: Sequence[str], own: str) -> Place:
    """The place of the consumer whose znode is `own` among the sorted `names`; at the end if it is missing there."""
    consumers = [name for name in names if name.endswith(_MARK)]
    if own in consumers:
        return Place(consumers.index(own), len(consumers))
    return Place(len(consumers), len(consumers) + 1)


class Presence:
    """This client among the consumers of a queue. folder: of the znodes of the queue's clients."""

    def __init__(self, client: "Client", folder: str) -> None:
        self._client = client
        self._folder = folder
        self._own = ""
        self._made: Call | None = None
        self._entered = 0  # how many streams of this client consume

    def enter(self) -> None:
        """A stream begins. Its znode is made by the way: nothing but speed depends on it."""
        self._entered += 1
        if self._entered == 1:
            self._own = f"{self._client.random.getrandbits(64):016x}{_MARK}"
            self._made = self._client.start_create(f"{self._folder}/{self._own}", ephemeral=True)

    def leave(self) -> None:
        """A stream ends."""
        self._entered -= 1
        if not self._entered:
            self._client.delete_later(f"{self._folder}/{self._own}")
            self._own = ""

    def start_listing(self) -> "Call | None":
        """Ask who consumes; None if this client has no stream."""
        return self._client.start_children(self._folder) if self._own else None

    async def learn(self, listing: "Call | None") -> Place:
        """The place of this client, as `listing` says."""
        if listing is None:
            return Place()
        try:
            names: list[str] = await listing.result()
        except NoNode:
            names = []
        if self._own and self._own not in names and self._made is not None and self._made.done:
            self._made = self._client.start_create(f"{self._folder}/{self._own}", ephemeral=True)
        return place_of(names, self._own)
