"""The writes about the rounds of a double barrier. Each write is made once, even if its reply is lost."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from recipes.barrier import rounds
from recipes.barrier.rounds import Notice, Outcome
from recipes.core.errors import BadVersion, ConnectionLoss, NodeExists, NoNode, NotEmpty, RecipesError
from recipes.shared_settings import agree, compare

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.client import Client
    from recipes.core.client.multi import Multi
    from recipes.core.jute.records import ACL

_AT_ONCE = 2000  # znodes that one request deletes
_ALL_ROUNDS_EACH = 16  # rounds after which somebody looks for any older rounds that were left
_LOSSES = 5  # connection losses of one Book after which the caller gets ConnectionLoss


class RoundSettings(NamedTuple):
    """The arguments of a DoubleBarrier."""

    path: str
    parties: int
    on_death: rounds.OnDeath
    name: str
    acl: "Sequence[ACL] | None"

    @property
    def agreed(self) -> dict[str, int | str | None]:
        """The settings that must be the same for all users of the path."""
        return {"parties": self.parties, "on_death": self.on_death}


class Book:
    """Makes one party's writes about the round that it is in or goes to.

    number: of the round, 0 if it is not known. before: the members of the round before it, if known. dir: path of the
    round's znode. losses: how many connections broke so far.
    """

    def __init__(self, client: "Client", settings: RoundSettings, number: int, before: Sequence[str] = ()) -> None:
        self.losses = 0
        self._client = client
        self._settings = settings
        self._taking: tuple[str, bytes] | None = None
        self.go_to(number)
        self.before: Sequence[str] = before

    def go_to(self, number: int) -> None:
        """From now on, write about this round."""
        self.number = number
        self.before = ()
        self.dir: str = self.dir_of(number)

    async def find_round(self) -> None:
        """Go to the newest round after the known one. Opens the next round if there is none."""
        settings = self._settings
        while True:
            try:
                data, stat = await self._client.get(settings.path)
                compare(settings.path, data, settings.agreed)
            except NoNode:
                await agree(self._client, settings.path, settings.agreed)
                continue
            number = rounds.decode_notice(data).newest
            if number > self.number:
                self.go_to(number)
                return
            with suppress(BadVersion, NodeExists), self._bearing_losses():
                async with self._client.multi() as multi:
                    multi.set(settings.path, self._noticed(Notice(self.number + 1)), stat.version)
                    self._open(multi, self.number + 1)

    async def decide(self, outcome: Outcome, *, leaving: str | None = None) -> bool:
        """Write the outcome of the entering, unless it is written, and open the next round. Returns whether it wrote.

        leaving: path of a znode to delete in the same multi.
        """
        notice, version, opens = Notice(self.number + 1, self.number, outcome), -1, True
        while True:
            multi = self._client.multi()
            multi.set(self.dir, rounds.encode(outcome), 0)
            multi.set(self._settings.path, self._noticed(notice), version)
            if opens:
                self._open(multi, notice.newest)
            if leaving is not None:
                multi.delete(leaving)
            with self._bearing_losses():
                _, failed_at, error = await multi.start().result()
                if isinstance(error, NodeExists) or (failed_at == 1 and isinstance(error, BadVersion)):
                    # The next round was opened already: do not set back the number of the newest one.
                    try:
                        data, stat = await self._client.get(self._settings.path)
                    except NoNode:  # somebody deletes the barrier
                        return False
                    newest = max(rounds.decode_notice(data).newest, self.number + 1)
                    notice, version, opens = notice._replace(newest=newest), stat.version, False
                    continue
                if isinstance(error, BadVersion | NoNode):
                    return False
                if error is not None:
                    raise error
                self._clear_soon()
                return True
            return False

    async def forget(self, died: Iterable[str]) -> None:
        """Record that these parties died before all were in, unless the entering has ended."""
        for name in died:
            with suppress(BadVersion, NodeExists, NoNode), self._bearing_losses():
                async with self._client.multi() as multi:
                    multi.check(self.dir, 0)
                    multi.create(f"{self.dir}/{name}{rounds.DIED}")

    async def withdraw(self, node: str) -> bool:
        """Delete `node`, which is ours, and record its death as `forget` does; False if the entering has ended."""
        while True:
            with self._bearing_losses():
                try:
                    async with self._client.multi() as multi:
                        multi.check(self.dir, 0)
                        multi.delete(node)
                        multi.create(f"{node}{rounds.DIED}")
                except BadVersion:
                    return False
                except (NodeExists, NoNode):  # an earlier try did it and its reply was lost, or our znode is gone
                    return True
                return True

    async def mark_left(self, member: str) -> str:
        """Record once that `member` has left or no longer counts. Returns the path of the new child of `out`.

        The path is relative to the round's znode. "" when this was recorded before, or the leaving has ended.
        """
        while True:
            with self._bearing_losses():
                try:
                    async with self._client.multi() as multi:
                        multi.create(f"{self.dir}/{member}{rounds.LEFT}")
                        multi.create(f"{self.dir}/{rounds.OUT}/n", sequential=True)
                except (NodeExists, NoNode):
                    return ""
                return str(multi.results[1]).removeprefix(f"{self.dir}/")

    async def break_leaving(self, members: Sequence[str], outcome: Outcome) -> None:
        """Write the outcome of the leaving, unless it has ended.

        Before that, the notice of the round's gate is taken down, and whoever has read it hears of that first. So a
        party that sees the round end while the notice is up knows that all have left.
        """
        while True:
            with self._bearing_losses():
                with suppress(NodeExists, NoNode):
                    await self._take_down()
                    await self._client.create(f"{self.dir}/{rounds.last_out(len(members))}", rounds.encode(outcome))
                return

    async def _take_down(self) -> None:
        while True:
            data, stat = await self._client.get(self._settings.path)
            notice = rounds.decode_notice(data)
            if notice.shown != self.number:
                return
            with suppress(BadVersion):  # then somebody has changed it: look again
                await self._client.set(self._settings.path, self._noticed(Notice(notice.newest)), stat.version)
                return

    async def take_place(self, member: str) -> str:
        """Create the place of this dead member; return its path, or "" if another party has it or had it and left."""
        mine = f"{self._client.random.getrandbits(64):016x}".encode()
        path, left = f"{self.dir}/{member}{rounds.PLACE}", f"{self.dir}/{member}{rounds.LEFT}"
        self._taking = path, mine
        while True:
            with self._bearing_losses():
                try:
                    async with self._client.multi() as multi:
                        multi.create(left)  # it fails if the place was given up: we may have read an older state
                        multi.delete(left)
                        multi.create(path, mine, ephemeral=True, acl=self._settings.acl)
                except (NodeExists, NoNode):
                    if not await self._is_ours():  # ours if an earlier try created it and its reply was lost
                        self._taking = None
                        return ""
                return path

    async def leave_place(self) -> None:
        """Delete the place that `take_place` created or may have created."""
        if self._taking is not None and await self._is_ours():
            with suppress(NoNode):
                await self._client.delete(self._taking[0])

    async def _is_ours(self) -> bool:
        if self._taking is None:
            return False
        path, mine = self._taking
        await self._client.sync(path)  # the current server may lag behind the previous one
        try:
            return (await self._client.get(path))[0] == mine
        except NoNode:
            return False

    def _open(self, multi: "Multi", number: int) -> None:
        multi.create(self.dir_of(number))
        multi.create(f"{self.dir_of(number)}/{rounds.OUT}")

    def _noticed(self, notice: Notice) -> bytes:
        return rounds.encode_notice(self._settings.agreed, notice)

    def _clear_soon(self) -> None:
        """Have what earlier rounds have left deleted.

        Normally that is only the last round, which ended well: then its znodes are known, and one request deletes them.
        """
        if self.number == 1:
            return
        if not self.before or len(self.before) > _AT_ONCE // 3 or self.number % _ALL_ROUNDS_EACH == 0:
            self._client.look_after(self._clear_older)
            return

        def heard(call: "Call") -> None:
            if call.error is not None or call.value.error is not None:  # other znodes are there, or a party
                self._client.look_after(self._clear_older)

        last, multi = self.dir_of(self.number - 1), self._client.multi()
        for index, member in enumerate(self.before, 1):
            multi.delete(f"{last}/{rounds.last_out(index)}")
            multi.delete(f"{last}/{member}{rounds.LEFT}")
        multi.delete(f"{last}/{rounds.OUT}")
        multi.delete(last)
        with suppress(RecipesError):  # the session is over
            multi.start(heard)

    async def _clear_older(self) -> None:
        """Delete the znodes of rounds before this one. A job of the client's own task.

        A round in which a party still has a znode is kept: that party may not know the outcome yet.
        """
        last = self.dir.rpartition("/")[2]
        with suppress(RecipesError):
            for name in await self._client.children(self._settings.path):
                if name.startswith("round-") and name < last:
                    await self._clear(f"{self._settings.path}/{name}")

    async def _clear(self, path: str) -> None:
        with suppress(NoNode, NotEmpty):
            names = await self._client.children(path)
            if not rounds.is_empty(names):
                return
            out = f"{path}/{rounds.OUT}"
            inside = [f"{out}/{name}" for name in await self._client.children(out)] if rounds.OUT in names else []
            nodes = [*inside, *(f"{path}/{name}" for name in names), path]
            for at in range(0, len(nodes), _AT_ONCE):
                async with self._client.multi() as multi:
                    for node in nodes[at : at + _AT_ONCE]:
                        multi.delete(node)

    def _bearing_losses(self) -> "_Bearing":
        return _Bearing(self)

    def dir_of(self, number: int) -> str:
        """The path of a round's znode."""
        return f"{self._settings.path}/round-{number:010d}"


class _Bearing:
    """`with`: swallows ConnectionLoss up to a limit, since the caller then finds out what became of its request."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, ConnectionLoss):
            return False
        self._book.losses += 1
        return self._book.losses < _LOSSES
