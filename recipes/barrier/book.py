"""What is written about the rounds of a double barrier: every write is made once, whatever reply is lost."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from recipes.agreement import agree, compare
from recipes.barrier import rounds
from recipes.barrier.rounds import Outcome
from recipes.core.errors import BadVersion, ConnectionLoss, NodeExists, NoNode, NotEmpty, RecipesError

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL

_LOSSES = 5  # connections that may break in a row under one step before the caller hears of it


class RoundSettings(NamedTuple):
    """What a DoubleBarrier was made with."""

    path: str
    parties: int
    on_death: rounds.OnDeath
    name: str
    acl: "Sequence[ACL] | None"

    @property
    def agreed(self) -> dict[str, int | str | None]:
        """What all users of the path have to say alike."""
        return {"parties": self.parties, "on_death": self.on_death}


class Book:
    """The round that a party is in, or goes to, and how it writes about it.

    number: of the round, 0 when it is not known. dir: path of its znode. losses: how many connections broke so far.
    """

    def __init__(self, client: "Client", settings: RoundSettings, number: int) -> None:
        self.losses = 0
        self._client = client
        self._settings = settings
        self.go_to(number)

    def go_to(self, number: int) -> None:
        """Write about another round from here on."""
        self.number = number
        self.dir: str = self._path_of(number)

    async def find_round(self) -> None:
        """Go to the round that is open, behind the one that we know of. Opens one if there is none."""
        settings = self._settings
        while True:
            try:
                data, stat = await self._client.get(settings.path)
                compare(settings.path, data, settings.agreed)
            except NoNode:
                await agree(self._client, settings.path, settings.agreed)
                continue
            number = json.loads(data).get("round", 0)
            if number > self.number:
                self.go_to(number)
                return
            with suppress(BadVersion, NodeExists), self._bearing_losses():
                async with self._client.multi() as multi:
                    multi.set(settings.path, self._numbered(number + 1), stat.version)
                    multi.create(self._path_of(number + 1))

    async def decide(self, outcome: Outcome, version: int, *, leaving: str | None = None) -> bool:
        """Write an outcome, if the round's znode has this version; whether it was written now.

        leaving: path of a znode that goes with it, in one step.
        """
        with suppress(BadVersion, NoNode), self._bearing_losses():
            async with self._client.multi() as multi:
                multi.set(self.dir, rounds.encode(outcome), version)
                if leaving is not None:
                    multi.delete(leaving)
            return True
        return False

    async def end(self, outcome: Outcome, names: Sequence[str]) -> None:
        """Write that all have left, with all that this leaves to do: delete what they had, and open the next round."""
        nodes = rounds.nodes_of(names, outcome.members)
        for tidy in (True, False):
            with suppress(BadVersion, NodeExists, NoNode, NotEmpty), self._bearing_losses():
                async with self._client.multi() as multi:
                    multi.set(self.dir, rounds.encode(outcome), 1)
                    for name in nodes:
                        multi.delete(f"{self.dir}/{name}")
                    if tidy:
                        multi.set(self._settings.path, self._numbered(self.number + 1))
                        multi.create(self._path_of(self.number + 1))
                        if self.number > 1:
                            multi.delete(self._path_of(self.number - 1))
                return
            if tidy:  # somebody opened the next round already, or a broken one left something behind
                self._client.look_after(self._clear_older)

    async def forget(self, gone: Iterable[str]) -> None:
        """Write down that these members died and do not count any more."""
        for name in gone:
            with suppress(NodeExists, NoNode), self._bearing_losses():
                await self._client.create(f"{self.dir}/{name}{rounds.GONE}")

    async def mark_left(self, member: str) -> list[str] | None:
        """Write down that `member` leaves; return the round's children right after that, None if unknown."""
        while True:
            create = self._client.start_create(f"{self.dir}/{member}{rounds.LEFT}")
            listing = self._client.start_children(self.dir)
            try:
                with self._bearing_losses():
                    await create.result()
                    names: list[str] = await listing.result()
                    return names
            except (NodeExists, NoNode):  # written before a reply was lost; or the round is cleared away
                return None
            finally:
                listing.abandoned = not listing.done

    async def replace(self, node: str, path: str, *, ephemeral: bool = False) -> bool:
        """Delete `node`, which is ours, and create `path`, in one step; False when one was not to be had."""
        acl = self._settings.acl if ephemeral else None
        while True:
            with self._bearing_losses():
                try:
                    async with self._client.multi() as multi:
                        multi.delete(node)
                        multi.create(path, ephemeral=ephemeral, acl=acl)
                except (NodeExists, NoNode):
                    if not self.losses:
                        return False
                else:
                    return True
                # A reply was lost: what we did may be done.
                await self._client.sync(path)
                stat = await self._client.exists(path)
                return stat is not None and (not ephemeral or stat.ephemeral_owner == self._client.session.id)

    def _numbered(self, number: int) -> bytes:
        return json.dumps({**self._settings.agreed, "round": number}, separators=(",", ":")).encode()

    async def _clear_older(self) -> None:
        """Delete what rounds before this one left behind, broken ones for example. A job of the client's own task."""
        last = self.dir.rpartition("/")[2]
        with suppress(RecipesError):
            for name in await self._client.children(self._settings.path):
                if name.startswith("round-") and name < last:
                    await self._clear(f"{self._settings.path}/{name}")

    async def _clear(self, path: str) -> None:
        with suppress(NoNode, NotEmpty):
            for name in await self._client.children(path):
                with suppress(NoNode):
                    await self._client.delete(f"{path}/{name}")
            await self._client.delete(path)

    def _bearing_losses(self) -> "_Bearing":
        return _Bearing(self)

    def _path_of(self, number: int) -> str:
        return f"{self._settings.path}/round-{number:010d}"


class _Bearing:
    """`with`: a lost connection is no error, since what came of the request is read afterwards; many in a row are."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, ConnectionLoss):
            return False
        self._book.losses += 1
        return self._book.losses < _LOSSES
