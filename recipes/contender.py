"""A place in line below one parent: the base of locks and elections.

Sources: ZooKeeper Recipes and Solutions, Locks and Leader Election.
"""

import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import anyio

from recipes.core import paths
from recipes.core.client.backoff import Backoff
from recipes.core.client.home import calling_thread
from recipes.core.client.session import EventType
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

# A request that breaks this many connections in a row is the cause, so it is not repeated.
_TRIES = 5
_MOST_MADE = 10  # times that a parent is made which is missing again, before its absence has another cause

_warned: "WeakKeyDictionary[Client, set[str]]" = WeakKeyDictionary()


class Contender(Tenure):
    """One znode in the line below `parent`, from its creation to its deletion. `line.standing` says when it holds.

    marker: what the place asks for, such as "lock-" or "lead-", in the naming of one library; see recipes/naming.py.
    Our own names are `_r_<id>-<marker><sequence>`; the id lets us recognise our znode when the reply to its creation is
    lost. once: allow a task only one place in this line, since with a second one it would wait for itself.
    data, acl: of our znode. `parent` gets the same acl if it is created here. label: follows the id.
    name: the id, for a place that follows an earlier one of ours; random without it.
    names: all children of `parent`, as last listed. limit, most: see `line.standing`.

    Raises ClientClosed or SessionExpired if the client is unusable; RuntimeError when, with `once`, this task is
    already in this line with the same client, whichever object it used.
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
        self._deleted = ""  # the last name in front that we saw deleted
        self._listed_over = 0  # the number of the connection over which we read the line last
        self._asked_to_leave: anyio.Event | None = None
        self.revoke_seen: bool = False
        self.names: list[str] = []
        self.limit: int = ALL
        self.most: int = ALL

    async def obtain(self, wait: bool) -> bool:
        """Join the line and return whether we hold; with `wait`, return once we do or our znode is gone."""
        order = await self.join()
        if not is_native(self._marker) and has_wrapped(self._name):
            naming = "kazoo" if is_kazoos(self._marker) else "curator"
            why = f"the sequence numbers at this path have wrapped, and {naming} puts such numbers in the wrong order"
            raise BadArguments(self._parent, f"naming={naming!r}: {why}; delete the path once nobody uses it")
        holds = self._holds(order)
        if holds or not wait:
            return holds
        self.watch_own()  # somebody may delete it while we wait
        await self._wait_turn(order)
        return not self.ended.is_set()

    @property
    def revoke_requested(self) -> anyio.Event:
        """Set once somebody has asked us to give up what we hold."""
        if self._asked_to_leave is None:
            self._asked_to_leave = anyio.Event()
            if self.revoke_seen:
                self._asked_to_leave.set()
        return self._asked_to_leave

    async def join(self, *, make_parent: bool = True) -> list[str]:
        """Make our znode and return the line as it was right after that. Raises NoNode without `make_parent`."""
        backoff = Backoff(self.client.random)
        made = 0
        while True:
            order, error = await self._create_and_list()
            if error is None:
                return order
            if isinstance(error, NoNode) and make_parent and made < _MOST_MADE:
                made += 1
                try:
                    await self._make_parent()
                except ConnectionLoss:
                    pass  # the parent may be missing still; then the next create fails, too
                else:
                    continue  # without a pause, in which servers may remove the parent, since it is empty
            elif isinstance(error, ConnectionLoss):
                # sync: the current server may not have applied yet what the previous server confirmed.
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
        """Let the client's own task delete our znode, if we may have one. Returns at once."""
        self._hand_over()

    async def _wait_turn(self, order: list[str]) -> None:
        """Return once it is our turn, or our znode is gone. Reads the line again only after an event of our watch.

        Not even then if we were next behind a lock that is gone: nobody comes in between, so it is our turn.
        """
        backoff = Backoff(self.client.random)
        missing = ""
        while not self._holds(order):
            if self._name not in order:
                self._gone()
                return
            turn = self._standing(order)
            if turn.holds:
                # It is our turn, but the local deadline has passed: a reply extends it while the session lives.
                await self.client.sync(self._parent)
                await backoff.pause()
                continue
            if not await self._wait_behind(turn.behind, order) and turn.behind == missing:
                await backoff.pause()  # the server lists a znode that it does not have
            missing = turn.behind
            order = order[1:] if self._is_next_behind_a_deleted_lock(order) else await self._line()

    async def _wait_behind(self, name: str, order: list[str]) -> bool:
        """Wait for an event at the znode `name`, which is in front of us in `order`; False if it does not exist."""
        stat, watch = await self.client.exists_watch(paths.join(self._parent, name))
        try:
            if stat is not None and (await watch.wait()).type is EventType.DELETED:
                self._deleted = name
        finally:
            watch.cancel()
        return stat is not None

    def _is_next_behind_a_deleted_lock(self, order: list[str]) -> bool:
        # A writer's znode can be gone because a reader's takes its place, and a leader's because it gives way: then the
        # line must be read again. So it must if our own znode may be gone, too, without an event for us by now.
        first = self._deleted
        own = self._watch is not None and self._watch.is_set and self._listed_over == self.client.session.connections
        return own and order[:2] == [first, self._name] and kind_of(first) == "lock" and is_native(self._marker)

    def _standing(self, order: list[str]) -> Standing:
        return standing(self._name, order, self.limit, self.most)

    def _holds(self, order: list[str]) -> bool:
        session, now = self.client.session, self.client.clock()
        return is_owner(self._name, order, self._owner, session.id, now, session.expires_at, self.limit)

    def _seen(self, stat: "Stat") -> None:
        # Whoever asks us to leave appends to the data. The Stat shows its length even without permission to read.
        # Curator replaces the data instead, so in other libraries' lines a new version is a request, too.
        asked = stat.data_length != len(self._data) or (stat.version and not is_native(self._marker))
        if asked and not self.revoke_seen:
            self.revoke_seen = True
            if self._asked_to_leave is not None:
                self._asked_to_leave.set()

    @property
    def _name(self) -> str:
        return self.path.rpartition("/")[2]

    async def _create_and_list(self) -> tuple[list[str], RecipesError | None]:
        """Send create2 and getChildren back to back: without contention an acquire needs no other request.

        Returns the line, and the error of the create if it has one.
        """
        create = self.client.start_create(self._prefix, self._data, ephemeral=True, sequential=True, acl=self._acl)
        self.asked: bool = True
        listing = self._start_listing()
        order: list[str] = []
        try:
            # The create's reply comes before this one, so one wake-up serves both.
            order = self._order(self._listed(await listing.result()))
        except NoNode:
            pass  # the create failed in the same way, unless the parent was deleted between the two
        finally:
            self._learn(create)
        invariant(create.done, "a reply came before that to an earlier request")
        if create.error is None and self._name not in order:
            order = await self._line()  # the two requests went over different connections: list again
        return order, create.error

    def _learn(self, create: "Call") -> None:
        """Record the outcome of our create if it is known; abandon the call if it is not."""
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
        # A kazoo object creates its path only once, so a container, which is deleted when empty, would break it.
        container = not is_kazoos(self._marker)
        if self._acl is None:
            await self.client.ensure_path(self._parent, container=container)
            return
        if above := self._parent.rpartition("/")[0]:
            await self.client.ensure_path(above, container=container)
        try:
            await self.client.create(self._parent, container=container, acl=self._acl)
        except NodeExists:
            pass
        except NoNode:
            if not above:  # the chroot is missing; else servers have removed `above`, and the next try makes it again
                raise

    async def _adopt(self, order: list[str]) -> None:
        """After a lost reply: adopt the first znode with our id that this session owns; delete the others."""
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
        self._listed_over = self.client.session.connections
        order = in_order(names, line_of(self._marker))
        if len(order) != len(names) and (others := strangers(names, self._marker)):
            _warn(self.client, self._parent, self._marker, others[0])
        return order


async def read_line(client: "Client", path: str, marker: str) -> list[Participant]:
    """Everyone in line below `path`, in order of arrival, without those that leave during the read."""
    try:
        names = await client.children(path)
    except NoNode:
        return []
    return await read_places(client, path, in_order(names, line_of(marker)))


async def read_places(client: "Client", path: str, names: Sequence[str]) -> list[Participant]:
    """The participants of the znodes `names` below `path`, in the same order, without znodes that are gone."""
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
    """Two lists of everyone in line below `path`: holders and waiters. limit, kept: see `holding`."""
    line = await read_line(client, path, marker)
    count = holding([each.path.rpartition("/")[2] for each in line], limit, kept)
    return [line[:count], line[count:]]


def check_within(path: str, within: float) -> float:
    """Return `within`, the longest wait in seconds. Raises BadArguments unless it is 0 or more."""
    if not within >= 0:
        raise BadArguments(path, f"within={within!r}: expected seconds, 0 or more")
    return within


def participant_of(name: str, path: str, stored: bytes, stat: "Stat") -> Participant:
    """The participant that owns the znode `name` at `path`, from its data and Stat."""
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
    """The key of this task's or thread's place in that line. Raises RuntimeError if it has a place there."""
    scopes = client.session.scopes
    key = (client.home.asker(), parent, line_of(marker))  # a client has one chroot
    if key in scopes:
        client.home.check()  # in a forked child the key may be of a task of the parent
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
    """Warn, once for each path of a client, that another library's znodes and ours do not wait for one another."""
    told = _warned.setdefault(client, set())
    if path not in told:
        told.add(path)
        logging.getLogger("recipes.election" if marker == "lead-" else "recipes.lock").warning(
            "%s is in line at %s by another library's rules: it and this library do not exclude one another;"
            " give each library a path of its own, or take naming= of that library",
            name,
            path,
        )
