"""A round as the block sees it that a party is inside of."""

import anyio


class Round:
    """A round that this party is in, bound by `async with ... as round`.

    number: of this round, 1 or more; later rounds of the same path have higher numbers. members: the names of all
    parties in it, in order of arrival. broken: an event, set when a party has died inside, so that leaving will raise
    BrokenBarrier, or when this party's own session is over. It does not cancel the block.
    """

    __slots__ = ("broken", "members", "number")

    def __init__(self, number: int, members: tuple[str, ...]) -> None:
        self.number: int = number
        self.members: tuple[str, ...] = members
        self.broken: anyio.Event = anyio.Event()

    def __repr__(self) -> str:
        return f"<Round {self.number} of {len(self.members)}{', broken' if self.broken.is_set() else ''}>"
