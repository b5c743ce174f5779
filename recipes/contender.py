"""A place in line below one parent: the ground that locks and elections stand on.

Sources: ZooKeeper Recipes and Solutions, Locks and Leader Election.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import anyio

from recipes.core import paths
from recipes.core.client.backoff import Backoff
from recipes.core.errors import (
    BadArguments,
    ConnectionLoss,
    HoldLost,
    NodeExists,
    NoNode,
    RecipesError,
    StoreError,
    invariant,
)
from recipes.hold import Tenure
from recipes.line import Participant, id_of, in_order, is_owner, strangers

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.session import Call
    from recipes.core.jute.records import ACL, Stat

# A request that breaks as many fresh connections, with nothing to show for it, is what breaks them.
_TRIES = 5

_warned: "WeakKeyDictionary[Client, set[str]]" = WeakKeyDictionary()


class Contender(Tenure):
    """One znode in the line below `parent`, from its creation to its deletion. First in line is what it is for.

    marker: what the line is for, "lock-" or "lead-". The znode is `_r_<id>-<marker><sequence>`; the id lets us
    recognise our own when the reply to its creation is lost.
    once: whether a task has one such place only, since with a second one it would wait for itself.
    data, acl: of our znode. The acl also is that of `parent`, where it is made here. label: follows the id.
    names: all children of `parent`, as they were listed last.

    Raises what every call of the client does when it is closed, or its session over; RuntimeError when this task
    stands in this line of this client already, whatever object it used, since it would wait for itself.
    """

    def __init__(
        self,
        client: "Client",
        parent: str,
        marker: str,
        lost: type[HoldLost],
        data: bytes = b"",
        acl: "Sequence[ACL] | None" = None,
        *,
        label: str = "",
        once: bool = True,
    ) -> None:
        paths.check(parent)
        prefix = paths.join(parent, f"_r_{client.random.getrandbits(64):016x}{label}-{marker}")
        super().__init__(client, prefix, parent, lost, key=_refuse_twice(client, parent, marker) if once else None)
        self._parent = parent
        self._marker = marker
        self._data = data
        self._acl = acl
        self._owner = 0
        self.names: list[str] = []

    async def obtain(self, wait: bool) -> bool:
        """Join the line; whether we are first in it, with `wait` once we are."""
        order = await self.join()
        if not wait or self._is_first(order):
            return self._is_first(order)
        self.watch_own()  # somebody may delete it while we wait
        await self._wait_first(order)
        return not self.ended.is_set()

    async def join(self, *, make_parent: bool = True) -> list[str]:
        """Make our znode and return the line as it was right after that. Raises NoNode without `make_parent`."""
        backoff = Backoff(self.client.random)
        while True:
            order, error = await self._create_and_list()
            if error is None:
                return order
            if isinstance(error, NoNode) and make_parent:
                with suppress(ConnectionLoss):  # then it is as far as it got, and the create fails once more
                    await self._make_parent()
            elif isinstance(error, ConnectionLoss):
                # sync: the server we are on now may not have seen yet what the one before carried out.
                await self.client.sync(self._parent)
                order = await self._line()
                await self._adopt(order)
                if self.path:
                    return order
            else:
                raise error
            if backoff.failures + 1 >= _TRIES:
                raise error
            await backoff.pause()

    def drop(self) -> None:
        """Have our znode deleted by the client's own task, if there may be one. Returns at once."""
        self._hand_over()

    async def _wait_first(self, order: list[str]) -> None:
        """Return once we are first, waking only when the one before us goes or the connection changes."""
        backoff = Backoff(self.client.random)
        missing = ""
        while not self._is_first(order):
            if self._name not in order:
                self._gone()
                return
            if order[0] == self._name:
                # First, yet past the local deadline: an answer moves that on, unless the client gives the session up.
                await self.client.sync(self._parent)
                await backoff.pause()
                continue
            before = order[order.index(self._name) - 1]
            stat, watch = await self.client.exists_watch(paths.join(self._parent, before))
            try:
                if stat is not None:
                    await watch.wait()
                elif before == missing:
                    await backoff.pause()  # a server that lists what it does not have would be asked again and again
                missing = before
            finally:
                watch.cancel()
            order = await self._line()

    def _is_first(self, order: list[str]) -> bool:
        session = self.client.session
        return is_owner(self._name, order, self._owner, session.id, self.client.clock(), session.expires_at)

    @property
    def _name(self) -> str:
        return self.path.rpartition("/")[2]

    async def _create_and_list(self) -> tuple[list[str], RecipesError | None]:
        """Send create2 and getChildren back to back: uncontended, the two are all an acquire needs.

        Returns the line, and the error of the create if it has one.
        """
        create = self.client.start_create(self._prefix, self._data, ephemeral=True, sequential=True, acl=self._acl)
        self.asked: bool = True
        listing = self.client.start_children(self._parent)
        order: list[str] = []
        try:
            # The create's reply comes before this one, so waking up once serves both.
            order = self._order(await listing.result())
        except NoNode:
            pass  # as the create says, too, unless the parent went after it
        finally:
            self._learn(create)
        invariant(create.done, "a reply came before that to an earlier request")
        if create.error is None and self._name not in order:
            order = await self._line()  # without our znode in it, the two went over different connections
        return order, create.error

    def _learn(self, create: "Call") -> None:
        """Take in what came of our create, as far as that is known; if nobody knows, nobody waits any more."""
        create.abandoned = not create.done
        if create.done and create.error is None:
            path, stat = create.value
            self._take(path, stat)
        elif isinstance(create.error, StoreError):
            self.asked = False  # a create that was refused made nothing

    def _take(self, path: str, stat: "Stat") -> None:
        self.path: str = path
        self.fence: int = stat.czxid
        self._owner = stat.ephemeral_owner

    async def _make_parent(self) -> None:
        if self._acl is None:
            await self.client.ensure_path(self._parent, container=True)
            return
        if above := self._parent.rpartition("/")[0]:
            await self.client.ensure_path(above, container=True)
        with suppress(NodeExists):
            await self.client.create(self._parent, container=True, acl=self._acl)

    async def _adopt(self, order: list[str]) -> None:
        """After a lost reply: take the first znode of our id that this session owns, delete the others."""
        for name in [name for name in order if paths.join(self._parent, name).startswith(self._prefix)]:
            path = paths.join(self._parent, name)
            stat = await self.client.exists(path)
            if stat is None:
                continue
            if self.path in ("", path) and stat.ephemeral_owner == self.client.session.id:
                self._take(path, stat)
            else:
                self.client.delete_later(path)

    async def _line(self) -> list[str]:
        try:
            return self._order(await self.client.children(self._parent))
        except NoNode:
            return []

    def _order(self, names: list[str]) -> list[str]:
        self.names = names
        order = in_order(names, self._marker)
        if len(order) != len(names) and (others := strangers(names)):
            _warn(self.client, self._parent, self._marker, others[0])
        return order


async def read_line(client: "Client", path: str, marker: str) -> list[Participant]:
    """Everyone in line below `path`, first come first; those that leave meanwhile are left out."""
    line = []
    try:
        names = await client.children(path)
    except NoNode:
        return []
    for name in in_order(names, marker):
        where = paths.join(path, name)
        try:
            data, stat = await client.get(where)
        except NoNode:
            continue
        line.append(Participant(id_of(name, marker), data, stat.czxid, stat.ephemeral_owner, stat.ctime / 1000, where))
    return line


def check_within(path: str, within: float) -> float:
    """The seconds that somebody waits at most. Raises BadArguments."""
    if not within >= 0:
        raise BadArguments(path, f"within={within!r}: expected seconds, 0 or more")
    return within


def _refuse_twice(client: "Client", parent: str, marker: str) -> object:
    """What this task's place in that line is known by. Raises RuntimeError when it has one."""
    scopes = client.session.scopes
    key = (client.home.current_task(), parent, marker)  # a client has one chroot
    if key in scopes:
        client.home.check()  # a forked child has its parent's tasks
        what = "the lock" if marker == "lock-" else "the election"
        name = anyio.get_current_task().name
        raise RuntimeError(
            f"task {name!r} is inside {what} {parent} already, and would wait for itself: it is not reentrant"
        )
    return key


def _warn(client: "Client", path: str, marker: str, name: str) -> None:
    """Say it once for each path of a client: those of another library and ours do not wait for one another."""
    told = _warned.setdefault(client, set())
    if path not in told:
        told.add(path)
        logging.getLogger("recipes.lock" if marker == "lock-" else "recipes.election").warning(
            "%s is in line at %s by another library's rules: it and this library do not exclude one another;"
            " give each library a path of its own",
            name,
            path,
        )
