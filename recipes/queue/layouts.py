"""The znodes of other libraries' queues, so that their clients and ours can share a queue during a migration.

| layout | written by | an item | a claim |
|---|---|---|---|
| kazoo | kazoo's Queue | `entry-<priority>-<number>` | none |
| kazoo-locking | kazoo's LockingQueue | `entries/entry-<priority>-<number>` | `taken/<its name>`, ephemeral |
| curator | Curator's DistributedQueue | `queue-<number>`, in its ItemSerializer's form | none |
| curator-locking | the same with a lockPath | the same | `<lock_path>/<its name>`, ephemeral |

Arguments that a layout does not support raise ValueError, which names them: a key, a delay, a capacity, a lease.
Deliveries are not counted. In layouts without claims an item can only be taken, at most once. Sources:
kazoo/recipe/queue.py; Curator's ItemSerializer.java, DistributedQueue.java.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from recipes.core import paths
from recipes.core.client.session import OVER
from recipes.core.errors import AckLost, ConnectionLoss, NodeExists, NoNode, SessionError
from recipes.hold import Tenure
from recipes.writer import make_path

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.multi import Multi

T = TypeVar("T")

_HEAD, _ITEM = Struct(">i"), Struct(">bi")
_VERSION, _ITEM_OPCODE, _END = 0x00010001, 1, b"\x02"


class Layout(NamedTuple):
    """Where a library keeps its items. The folders are relative to the queue's path."""

    name: str
    prefix: str  # of an item's name
    items: str  # the folder of the items, "" for the queue's path itself
    claims: str | None  # the folder of the claims; None if the layout has none
    has_priority: bool
    is_curator: bool


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("kazoo", "entry-", "", None, True, False),
        Layout("kazoo-locking", "entry-", "/entries", "/taken", True, False),
        Layout("curator", "queue-", "", None, False, True),
        Layout("curator-locking", "queue-", "", "", False, True),
    )
}


def serialize(items: Sequence[bytes]) -> bytes:
    """Curator's ItemSerializer: a version, the items with their lengths, an end mark."""
    parts = [part for item in items for part in (_ITEM.pack(_ITEM_OPCODE, len(item)), item)]
    return b"".join([_HEAD.pack(_VERSION), *parts, _END])


def deserialize(stored: bytes) -> list[bytes]:
    """The items of one znode. Raises ValueError."""
    try:
        (version,) = _HEAD.unpack_from(stored)
        if version != _VERSION:
            raise ValueError(f"version {version:#x}")
        items, at = [], _HEAD.size
        while stored[at : at + 1] != _END:
            opcode, length = _ITEM.unpack_from(stored, at)
            at += _ITEM.size
            if opcode != _ITEM_OPCODE or not 0 <= length <= len(stored) - at:
                raise ValueError(f"opcode {opcode}, length {length}")
            items.append(stored[at : at + length])
            at += length
    except (StructError, ValueError) as error:
        raise ValueError(f"not an item as Curator writes it: {error}") from error
    return items


class Foreign:
    """A queue of another library at `path`. lock_path: Curator's lockPath, for the layout "curator-locking"."""

    def __init__(self, client: "Client", path: str, layout: str, lock_path: str | None) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"layout={layout!r}: expected one of native, {', '.join(LAYOUTS)}")
        self.layout: Layout = LAYOUTS[layout]
        self.client = client
        self.items: str = paths.check(path) + self.layout.items
        self.claims: str | None = None
        if self.layout.claims is not None:
            self.claims = path + self.layout.claims
        if layout == "curator-locking":
            if lock_path is None:
                raise ValueError(
                    "lock_path is missing: expected the path that Curator's QueueBuilder.lockPath was given"
                )
            self.claims = paths.check(lock_path)
        elif lock_path is not None:
            raise ValueError(f"lock_path={lock_path!r}: layout {layout!r} does not support it")
        self.id: bytes = f"{client.random.getrandbits(128):032x}".encode()
        self._made = False

    def refuse(self, **given: object) -> None:
        """Raise ValueError for the first argument that is true: the layout supports none of them."""
        for name, value in given.items():
            if value:
                raise ValueError(f"{name}={value!r}: layout {self.layout.name!r} does not support it")

    async def put(self, items: Sequence[bytes], priority: int) -> None:
        """Put items, all or none. ConnectionLoss leaves the outcome open: nothing marks an item as ours."""
        if not self.layout.has_priority and priority != 100:
            self.refuse(priority=priority)
        await self.prepare()
        prefix = f"{self.items}/{self.layout.prefix}" + (f"{priority:03d}-" if self.layout.has_priority else "")
        async with self.client.multi() as multi:
            for item in items:
                multi.create(prefix, serialize([item]) if self.layout.is_curator else item, sequential=True)

    async def prepare(self) -> None:
        """Create the folders."""
        if not self._made:
            for folder in {self.items, self.claims or self.items}:
                await make_path(self.client, folder)
            self._made = True

    async def size(self) -> int:
        """The number of items, claimed ones included."""
        return sum(name.startswith(self.layout.prefix) for name in await self._names(self.items))

    async def waiting(self) -> list[str]:
        """The names of the items that nobody has claimed, in the order in which they are taken."""
        names = await self._names(self.items)
        claimed = set(await self._names(self.claims)) if self.claims else set()
        return [name for name in names if name.startswith(self.layout.prefix) and name not in claimed]

    async def peek(self, count: int) -> list[bytes]:
        """The first `count` items that nobody has claimed."""
        found: list[bytes] = []
        for name in await self.waiting():
            if len(found) >= count:
                break
            with suppress(NoNode):
                data, _ = await self.client.get(f"{self.items}/{name}")
                found += deserialize(data) if self.layout.is_curator else [data]
        return found[:count]

    async def read(self, name: str) -> bytes | None:
        """An item's data; None if it is gone. A znode of Curator with several items is first split, and gives None."""
        try:
            data, stat = await self.client.get(f"{self.items}/{name}")
        except NoNode:
            return None
        if not self.layout.is_curator:
            return data
        found = deserialize(data)
        if len(found) == 1:
            return found[0]
        with suppress(NoNode, NodeExists):
            async with self.client.multi() as multi:
                if self.claims:
                    multi.create(f"{self.claims}/{name}", self.id, ephemeral=True)
                    multi.delete(f"{self.claims}/{name}")
                multi.delete(f"{self.items}/{name}", stat.version)
                for item in found:
                    multi.create(f"{self.items}/{self.layout.prefix}", serialize([item]), sequential=True)
        return None

    async def take(self, decode: Callable[[bytes], T]) -> T:
        """Wait for an item, remove it, and return its value: at most once. After ConnectionLoss an item may be lost.

        An item that `decode` refuses stays.
        """
        await self.prepare()
        while True:
            for name in await self.waiting():
                data = await self.read(name)
                if data is not None:
                    value = decode(data)
                    if await self.remove(name):
                        return value
            await self.wait_changed()

    async def remove(self, name: str) -> bool:
        """Remove an item that nobody has claimed; False if somebody was faster."""
        try:
            async with self.client.multi() as multi:
                if self.claims:
                    multi.create(f"{self.claims}/{name}", self.id, ephemeral=True)
                    multi.delete(f"{self.claims}/{name}")
                multi.delete(f"{self.items}/{name}")
        except (NoNode, NodeExists):
            return False
        return True

    async def claim(self) -> "ForeignCustody | None":
        """Claim the first waiting item; None if none waits."""
        if self.claims is None:
            raise TypeError(f"layout {self.layout.name!r} has no claims: use take()")
        await self.prepare()
        for name in await self.waiting():
            custody = ForeignCustody(self, name)
            if await custody.obtain(False):
                return custody
        return None

    async def wait_changed(self) -> None:
        """Return once there may be a waiting item; at once if there is one already."""
        _, watch = await self.client.children_watch(self.items)
        try:
            if self.claims is not None:
                # A returned item changes only the list of claims, a new item only the list of items.
                await self.client.children_watch(self.claims, watch=watch)
            if not await self.waiting():
                await watch.wait()
        finally:
            watch.cancel()

    async def _names(self, folder: str) -> list[str]:
        try:
            return await self.client.children(folder)
        except NoNode:
            return []


class ForeignCustody(Tenure):
    """A claim in another library's queue: an ephemeral znode with the item's name. Deliveries are not counted."""

    def __init__(self, foreign: Foreign, name: str) -> None:
        super().__init__(foreign.client, f"{foreign.claims}/{name}", f"{foreign.items}/{name}", AckLost)
        self.data: bytes = b""
        self.begun: bool = False
        self._foreign = foreign
        self._claim = f"{foreign.claims}/{name}"
        self._item = f"{foreign.items}/{name}"
        self._name = name
        self._error: BaseException | None = None

    async def obtain(self, wait: bool) -> bool:
        """Make the claim, and check that the item is still there."""
        if self.path:
            self.begun = True
            return True
        self.asked: bool = True
        try:
            try:
                _, stat = await self.client.create2(self._claim, self._foreign.id, ephemeral=True)
            except NodeExists:
                self.asked = False
                return False
            except ConnectionLoss:
                held, stat = await self.client.get(self._claim)
                if held != self._foreign.id or stat.ephemeral_owner != self.client.session.id:
                    self.asked = False
                    return False
            self.fence: int = stat.czxid
            data = await self._foreign.read(self._name)
        except BaseException:
            if self.asked:
                self.client.delete_later(self._claim)
            raise
        if data is None:
            self.asked = False
            self.client.delete_later(self._claim)
            return False
        self.path: str = self._claim
        self.data = data
        return True

    def abandon(self) -> None:
        """Give the item back, which no block was entered with."""
        self.client.delete_later(self._claim)

    async def exit(self, error: BaseException | None) -> bool | None:
        """End the block: remove the item, or only the claim."""
        self._error = error
        return await super().exit(error)

    async def extend(self) -> None:
        """Raise ValueError: other libraries' layouts have no lease."""
        self._foreign.refuse(lease="extend()")

    def check(self, multi: "Multi") -> None:
        """Make the caller's `multi` fail unless the item and a claim on it exist."""
        multi.check(self._claim)
        multi.check(self._item)

    async def _leave(self, *, at_once: bool) -> None:
        if self._error is not None or not self.asked or self.ended.lost:
            await super()._leave(at_once=at_once)
            return
        if self._watch is not None:
            self._watch.cancel()
        try:
            stat = await self.client.exists(self._claim)
            if stat is None or stat.czxid != self.fence:
                raise NoNode(self._claim)
            async with self.client.multi() as multi:
                multi.delete(self._claim)
                multi.delete(self._item)
        except NoNode:
            self._gone()
        except ConnectionLoss as error:
            if await self.client.exists(self._item) is not None:
                self.ended.set(str(error), lost=True)
        except SessionError:
            self.ended.set(OVER, lost=True)
        self.asked = self.ended.lost and not self.client.session.lost
