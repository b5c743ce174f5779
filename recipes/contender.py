"""A place in line below one parent: the ground that locks and elections stand on.

Sources: ZooKeeper Recipes and Solutions, Locks and Leader Election.
"""

import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import anyio

from recipes.core import paths
from recipes.core.client.backoff import Backoff
from recipes.core.client.home import calling_thread
from recipes.core.errors import (
    BadArguments,
    ConnectionLoss,
    HoldLost,
    LeadershipLost,
    NodeExists,
    NoNode,
    RecipesError,
    StoreError,
    invariant,
)
from recipes.hold import Tenure
from recipes.line import (
    ALL,
    Participant,
    Standing,
    fence_of,
    holding,
    id_of,
    in_order,
    is_owner,
    kind_of,
    permits_of,
    standing,
    strangers,
)
from recipes.naming import beginning, has_wrapped, is_asked, is_kazoos, is_native, line_of

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL, Stat

# A request that breaks as many fresh connections, with nothing to show for it, is what breaks them.
_TRIES = 5

_warned: "WeakKeyDictionary[Client, set[str]]" = WeakKeyDictionary()


class Contender(Tenure):
    """One znode in the line below `parent`, from its creation to its deletion. `line.standing` says when it holds.

    marker: what it asks for, such as "lock-" or "lead-", and by whose names; see recipes/naming.py. Ours are
    `_r_<id>-<marker><sequence>`; the id lets us recognise our own when the reply to its creation is lost.
    once: whether a task has one such place only, since with a second one it would wait for itself.
    data, acl: of our znode. The acl also is that of `parent`, where it is made here. label: follows the id.
    name: the id, for one that follows another place of ours; chosen at random without it.
    names: all children of `parent`, as they were listed last. limit, most: see `line.standing`.

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
        name: str | None = None,
    ) -> None:
        paths.check(parent)
        prefix = paths.join(parent, beginning(marker, label, client.random.getrandbits, name))
        key = _refuse_twice(client, parent, marker, lost) if once else None
        super().__init__(client, prefix, parent, lost, key=key)
        self._parent = parent
        self._marker = marker
        self._data = data
        self._acl = acl
        self._owner = 0
        self._asked_to_leave: anyio.Event | None = None
        self.revoke_seen: bool = False
        self.names: list[str] = []
        self.limit: int = ALL
        self.most: int = ALL

    async def obtain(self, wait: bool) -> bool:
        """Join the line; whether we hold what we ask for, with `wait` once we do."""
        order = await self.join()
        if not is_native(self._marker) and has_wrapped(self._name):
            naming = "kazoo" if is_kazoos(self._marker) else "curator"
            why = "the numbers of the znodes made here have wrapped, and its rule does not put such numbers in order"
            raise BadArguments(self._parent, f"naming={naming!r}: {why}; delete the path once nobody uses it")
        if not wait or self._holds(order):
            return self._holds(order)
        self.watch_own()  # somebody may delete it while we wait
        await self._wait_turn(order)
        return not self.ended.is_set()

    @property
    def revoke_requested(self) -> anyio.Event:
        """Set once somebody asked us to give it up."""
        if self._asked_to_leave is None:
            self._asked_to_leave = anyio.Event()
            if self.revoke_seen:
                self._asked_to_leave.set()
        return self._asked_to_leave

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

    async def _wait_turn(self, order: list[str]) -> None:
        """Return once it is our turn, waking only when the one we wait for goes or the connection changes."""
        backoff = Backoff(self.client.random)
        missing = ""
        while not self._holds(order):
            if self._name not in order:
                self._gone()
                return
            turn = self._standing(order)
            if turn.holds:
                # Our turn, yet past the local deadline: an answer moves that on, unless the session is given up.
                await self.client.sync(self._parent)
                await backoff.pause()
                continue
            if not await self._wait_behind(turn.behind, order) and turn.behind == missing:
                await backoff.pause()  # a server that lists what it does not have would be asked again and again
            missing = turn.behind
            order = await self._line()

    async def _wait_behind(self, name: str, order: list[str]) -> bool:
        """Wait for a sign of `name`, who is in front of us, in `order`; False when there is no such znode."""
        stat, watch = await self.client.exists_watch(paths.join(self._parent, name))
        try:
            if stat is not None:
                await watch.wait()
        finally:
            watch.cancel()
        return stat is not None

    def _standing(self, order: list[str]) -> Standing:
        return standing(self._name, order, self.limit, self.most)

    def _holds(self, order: list[str]) -> bool:
        session, now = self.client.session, self.client.clock()
        return is_owner(self._name, order, self._owner, session.id, now, session.expires_at, self.limit)

    def _seen(self, stat: "Stat") -> None:
        # Who asks us to leave makes the data longer. Its length is told to us without a right to read it.
        # Curator writes other data instead, and nobody else does.
        asked = stat.data_length != len(self._data) or (stat.version and not is_native(self._marker))
        if asked and not self.revoke_seen:
            self.revoke_seen = True
            if self._asked_to_leave is not None:
                self._asked_to_leave.set()

    @property
    def _name(self) -> str:
        return self.path.rpartition("/")[2]

    async def _create_and_list(self) -> tuple[list[str], RecipesError | None]:
        """Send create2 and getChildren back to back: uncontended, the two are all an acquire needs.

        Returns the line, and the error of the create if it has one.
        """
        create = self.client.start_create(self._prefix, self._data, ephemeral=True, sequential=True, acl=self._acl)
        self.asked: bool = True
        listing = self._start_listing()
        order: list[str] = []
        try:
            # The create's reply comes before this one, so waking up once serves both.
            order = self._order(self._listed(await listing.result()))
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
        # kazoo makes its paths once for each of its objects: one that goes when it is empty breaks them.
        container = not is_kazoos(self._marker)
        if self._acl is None:
            await self.client.ensure_path(self._parent, container=container)
            return
        if above := self._parent.rpartition("/")[0]:
            await self.client.ensure_path(above, container=container)
        with suppress(NodeExists):
            await self.client.create(self._parent, container=container, acl=self._acl)

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

    def _start_listing(self) -> "Call":
        return self.client.start_children(self._parent)

    def _listed(self, result: Any) -> list[str]:
        """The names in a listing's result."""
        names: list[str] = result
        return names

    async def _line(self) -> list[str]:
        try:
            return self._order(self._listed(await self._start_listing().result()))
        except NoNode:
            return []

    def _order(self, names: list[str]) -> list[str]:
        self.names = names
        order = in_order(names, line_of(self._marker))
        if len(order) != len(names) and (others := strangers(names, self._marker)):
            _warn(self.client, self._parent, self._marker, others[0])
        return order


async def read_line(client: "Client", path: str, marker: str) -> list[Participant]:
    """Everyone in line below `path`, first come first; those that leave meanwhile are left out."""
    try:
        names = await client.children(path)
    except NoNode:
        return []
    return await read_places(client, path, in_order(names, line_of(marker)))


async def read_places(client: "Client", path: str, names: Sequence[str]) -> list[Participant]:
    """Who has the znodes `names` below `path`, in their order; those that have gone are left out."""
    line = []
    for name in names:
        where = paths.join(path, name)
        try:
            stored, stat = await client.get(where)
        except NoNode:
            continue
        line.append(participant_of(name, where, stored, stat))
    return line


async def read_holders(
    client: "Client", path: str, marker: str, limit: int = ALL, kept: Collection[str] = ()
) -> list[list[Participant]]:
    """Everyone in line below `path`: those that hold, and those that wait. limit, kept: see `holding`."""
    line = await read_line(client, path, marker)
    count = holding([each.path.rpartition("/")[2] for each in line], limit, kept)
    return [line[:count], line[count:]]


def check_within(path: str, within: float) -> float:
    """The seconds that somebody waits at most. Raises BadArguments."""
    if not within >= 0:
        raise BadArguments(path, f"within={within!r}: expected seconds, 0 or more")
    return within


def participant_of(name: str, path: str, stored: bytes, stat: "Stat") -> Participant:
    """Who has the znode `name`, which is at `path`."""
    data, asked = is_asked(stored, name)
    kind = kind_of(name)
    return Participant(
        id=id_of(name, f"{kind}-").partition(".")[0],
        data=data,
        fence=fence_of(name) or stat.czxid,
        session_id=stat.ephemeral_owner,
        since=stat.ctime / 1000,
        path=path,
        kind=kind,
        permits=permits_of(name) if kind == "permits" else 1,
        revoke_requested=asked,
    )


def _refuse_twice(client: "Client", parent: str, marker: str, lost: type[HoldLost]) -> object:
    """What this task's or thread's place in that line is known by. Raises RuntimeError when it has one."""
    scopes = client.session.scopes
    key = (client.home.asker(), parent, line_of(marker))  # a client has one chroot
    if key in scopes:
        client.home.check()  # a forked child has its parent's tasks
        kind = kind_of(f"_r_-{marker}0000000000" if is_native(marker) else f"{marker}0000000000")
        what = {"read": "the read/write lock", "write": "the read/write lock", "permits": "the semaphore"}.get(kind)
        if what is None:
            what = "the election" if issubclass(lost, LeadershipLost) else "the lock"
        thread = calling_thread.get()
        who = f"thread {thread.name!r}" if thread else f"task {anyio.get_current_task().name!r}"
        why = f"{who} is inside {what} {parent} already, and would wait for itself: it is not reentrant"
        if kind == "write":
            why += "; nobody upgrades from read to write, since two that did would wait for each other: leave it first"
        elif kind == "read":
            why += "; who writes and wants to go on reading calls downgrade() on its grant"
        raise RuntimeError(why)
    return key


def _warn(client: "Client", path: str, marker: str, name: str) -> None:
    """Say it once for each path of a client: those of another library and ours do not wait for one another."""
    told = _warned.setdefault(client, set())
    if path not in told:
        told.add(path)
        logging.getLogger("recipes.election" if marker == "lead-" else "recipes.lock").warning(
            "%s is in line at %s by another library's rules: it and this library do not exclude one another;"
            " give each library a path of its own, or take naming= of that library",
            name,
            path,
        )
