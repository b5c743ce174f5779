"""Rounds that all parties enter together and leave together (ZooKeeper Recipes and Solutions, Double Barriers)."""

import re
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, get_args

import anyio

from recipes.barrier.book import RoundSettings
from recipes.barrier.inside import Round
from recipes.barrier.party import Party
from recipes.barrier.place import Departure
from recipes.barrier.rounds import OnDeath
from recipes.core import paths
from recipes.core.client.home import calling_thread
from recipes.core.errors import BadArguments

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL

_LONGEST_NAME = 64


class DoubleBarrier:
    """`async with DoubleBarrier(client, path, parties) as round:` all parties enter together, and leave together.

    The block begins when all parties have come, and its end waits until all have left or died. The same object and
    path serve round after round without a reset.

    client: a connected Client; a place in a round lives and dies with its session.
    path: the barrier's znode, persistent; it holds the number of the round, and the round's znodes are below it.
    parties: number of parties in a round, 1 or more. on_death: the effect of a party's death. All users of one path
    must give the same parties and on_death, else SettingsDiffer. name: names this party to others when it breaks a
    round; by default host and process id. acl: for the znodes of the parties; without it everybody may do everything.

    A party dies when its session ends or when its block ends by an exception. Before all are in, it also dies when it
    is cancelled or runs out of time. on_death gives the effect on the round:

    - "break": a death before all are in ends the round for all its parties with BrokenBarrier, which says who died.
      A death inside sets `round.broken`, and ends the leaving of all others with BrokenBarrier. No block is cancelled.
    - "shrink": the round goes on without the dead party.
    - "wait": the dead party's place stays free until another party takes it, before all are in and inside.

    All parties of one round get the same outcome, because it is a znode that is written once. A surplus party gets
    BarrierFull while all are inside; once the leaving has begun it enters the next round.

    If the block raises, its error goes on at once, without waiting for the others. Raises BrokenBarrier, BarrierFull,
    SettingsDiffer, SessionExpired and the errors of every call of the client.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        parties: int,
        *,
        on_death: OnDeath = "break",
        name: str | None = None,
        acl: "Sequence[ACL] | None" = None,
    ) -> None:
        if isinstance(parties, bool) or not isinstance(parties, int) or parties < 1:
            raise BadArguments(path, f"parties={parties!r}: expected a whole number from 1 on")
        if on_death not in get_args(OnDeath):
            raise BadArguments(path, f"on_death={on_death!r}: expected one of {', '.join(get_args(OnDeath))}")
        self._client = client
        label = client.process_name if name is None else name
        self._settings = RoundSettings(
            paths.check(path), parties, on_death, re.sub(r"[^A-Za-z0-9._:+-]", "_", label)[:_LONGEST_NAME], acl
        )
        self._inside: dict[object, Party] = {}  # key: the task or thread that entered
        self._last: Departure | None = None  # of the last round, if it ended well

    async def __aenter__(self) -> Round:
        asker = self._client.home.asker()
        if asker in self._inside:
            raise RuntimeError(f"{_name_of_asker()} is inside the barrier {self._settings.path} already")
        party = Party(self._client, self._settings, self._last)
        self._inside[asker] = party
        try:
            return await party.enter()
        except BaseException:
            del self._inside[asker]
            self._last = None
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asker = self._client.home.asker()
        if asker not in self._inside and self._inside:
            asker = next(iter(self._inside))  # another task leaves: any party will do
        party = self._inside.pop(asker, None)
        if party is None:
            raise RuntimeError(f"this task is not inside the barrier {self._settings.path}")
        self._last = None
        self._last = await party.leave(error)


def _name_of_asker() -> str:
    thread = calling_thread.get()
    return f"thread {thread.name!r}" if thread else f"task {anyio.get_current_task().name!r}"
