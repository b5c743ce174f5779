"""Every operation on znodes as a method."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from recipes.core import paths
from recipes.core.client import requests
from recipes.core.client.call import Call, Watcher
from recipes.core.client.multi import Multi
from recipes.core.client.namespace import Namespace
from recipes.core.client.replies import read_children, read_names, read_node, read_nodes, read_stat
from recipes.core.client.view import ChildrenView, NodeView
from recipes.core.client.watch import CreationWatch, DeletionWatch, Watch, Watching, WatchStream
from recipes.core.errors import BadArguments, NoAuth, NodeExists, NoNode, RecipesError, store_error
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.codec import text, texts, un_int
from recipes.core.jute.records import ACL, Id, Stat

_MOST_BEGUN_AGAIN = 10  # containers are reaped seldom, so NoNode again and again has another cause

_READS = {"get": op.GET_DATA, "children": op.GET_CHILDREN}
_READ_HEADERS = {kind: rq.pack_multi_header(kind, -1) for kind in _READS.values()}

Read = tuple[bytes, Stat] | list[str] | RecipesError


class Operations(ABC):
    """What a client can ask of the store.

    Every call may raise these errors beside those in its own description:

    - before anything is sent: BadArguments for an invalid path, a number out of range, or a request larger than
      servers take; TypeError for an argument of the wrong type;
    - SessionExpired, AuthFailed or ClientClosed when the session is over;
    - ConnectionLoss for a write that was sent when the connection broke (`maybe_applied`), and for a read that broke
      one connection after the other;
    - NoAuth where an ACL does not permit it, NotReadOnly for a write or sync on a server that is read-only, ThrottledOp
      from a server that is too busy, WireError for a reply that cannot be decoded.

    Methods named `start_*` send the request and return a Call without waiting; `await call.result()` gives the outcome.
    """

    _namespace: Namespace

    async def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequential: bool = False,
        container: bool = False,
        ttl: float | None = None,
        acl: Sequence[ACL] | None = None,
        make_parents: bool = False,
    ) -> str:
        """Create a znode and return its path; see `create2` for the arguments and errors."""
        path, _ = await self.create2(
            path,
            data,
            ephemeral=ephemeral,
            sequential=sequential,
            container=container,
            ttl=ttl,
            acl=acl,
            make_parents=make_parents,
        )
        return path

    async def create2(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequential: bool = False,
        container: bool = False,
        ttl: float | None = None,
        acl: Sequence[ACL] | None = None,
        make_parents: bool = False,
    ) -> tuple[str, Stat]:
        """Create a znode and return its path and Stat.

        ephemeral: the server deletes it with the session. sequential: the server appends a number of ten digits to the
        path. container: the server deletes it some time after its last child. ttl: the server deletes it after this
        many seconds, from 0.001 on, without a change or children. acl: who may do what; without it everybody may do
        everything. make_parents: create missing ancestors.

        Raises NodeExists, NoNode (the parent), NoAuth, InvalidACL, NoChildrenForEphemerals, QuotaExceeded,
        Unimplemented (a server without containers or ttl).
        """
        kind, body = requests.create(
            self._namespace,
            path,
            data,
            ephemeral=ephemeral,
            sequential=sequential,
            container=container,
            ttl=ttl,
            acl=acl,
        )
        created: tuple[str, Stat]
        begun_again = 0
        while True:
            try:
                created = await self._submit(Call(kind, body, self._path_stat, path=path)).result()
            except NoNode:
                above = path.rpartition("/")[0]
                if not (make_parents and above) or begun_again > _MOST_BEGUN_AGAIN:
                    raise
                begun_again += 1  # again and again: an empty container above may be reaped before we use it
                await self.ensure_path(above)
            else:
                return created

    def start_create(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequential: bool = False,
        acl: Sequence[ACL] | None = None,
    ) -> Call:
        """`create2` without waiting: its result is path and Stat."""
        kind, body = requests.create(self._namespace, path, data, ephemeral=ephemeral, sequential=sequential, acl=acl)
        return self._submit(Call(kind, body, self._path_stat, path=path))

    async def ensure_path(self, path: str, *, container: bool = False) -> None:
        """Create the znode and its ancestors where they are missing. container: create containers.

        Raises NoAuth, QuotaExceeded, and NoNode when this client's chroot is missing, which no client creates.
        """
        names = [name for name in paths.check(path).split("/") if name]
        depth = begun_again = 0
        while depth < len(names):
            above = "/" + "/".join(names[: depth + 1])
            try:
                await self.create(above, container=container)
            except NodeExists:
                pass
            except NoAuth:  # servers check the ACL before they check whether the znode exists
                if await self.exists(above) is None:
                    raise
            except NoNode:
                if depth == 0:
                    raise NoNode(above, "the chroot is missing") from None
                if begun_again == _MOST_BEGUN_AGAIN:
                    raise NoNode(above, "its parents were deleted each time they had been made") from None
                depth, begun_again = 0, begun_again + 1  # an empty container above was reaped in between: begin again
                continue
            depth += 1

    async def get(self, path: str, *, latest: bool = False) -> tuple[bytes, Stat]:
        """Data and Stat. Raises NoNode, NoAuth.

        latest: include everything that was committed before this call; without it the server answers with what it has.
        It costs no second round trip: a `sync` goes ahead of the request. It may raise NotReadOnly.
        """
        call = self._read(op.GET_DATA, path, read_node)
        data, stat = await (self._behind_sync(call) if latest else self._submit(call).result())
        return data, stat

    async def set(self, path: str, data: bytes, version: int = -1) -> Stat:
        """Replace the data, if the znode has this `version` (-1: any). Raises NoNode, BadVersion, NoAuth."""
        call = Call(op.SET_DATA, requests.set_data(self._namespace, path, data, version), read_stat, path=path)
        stat: Stat = await self._submit(call).result()
        return stat

    async def delete(self, path: str, version: int = -1) -> None:
        """Delete, if the znode has this `version` (-1: any). Raises NoNode, BadVersion, NotEmpty, NoAuth."""
        await self._submit(Call(op.DELETE, requests.path_version(self._namespace, path, version), path=path)).result()

    def start_delete(self, path: str, heard: Callable[[Call], None] | None = None) -> Call:
        """`delete`, for any version, without waiting. heard: called once the outcome is known."""
        body = requests.path_version(self._namespace, path, -1)
        return self._submit(Call(op.DELETE, body, path=path, heard=heard))

    async def exists(self, path: str, *, latest: bool = False) -> Stat | None:
        """Stat, or None when there is no such znode. Needs no permission. latest: see `get`."""
        call = self._read(op.EXISTS, path, read_stat)
        try:
            stat: Stat = await (self._behind_sync(call) if latest else self._submit(call).result())
        except NoNode:
            return None
        return stat

    async def children(self, path: str, *, latest: bool = False) -> list[str]:
        """Names of the children, sorted. Raises NoNode, NoAuth. latest: see `get`."""
        call = self._read(op.GET_CHILDREN, path, read_names)
        names: list[str] = await (self._behind_sync(call) if latest else self._submit(call).result())
        return names

    def start_children(self, path: str) -> Call:
        """`children` without waiting: its result is the list."""
        return self._submit(self._read(op.GET_CHILDREN, path, read_names))

    async def exists_watch(self, path: str, *, watch: Watch | None = None) -> tuple[Stat | None, Watch]:
        """`exists`, and a watch on the next creation, deletion or change of data. Raises as `exists` does.

        watch: a Watch of another path; it then fires at the first event of either path.
        """
        watch = Watch(self._namespace, path) if watch is None else watch.join(path)
        try:
            stat: Stat = await self._submit(self._read(op.EXISTS, path, read_stat, ("data", watch))).result()
        except NoNode:
            return None, watch
        except BaseException:
            watch.cancel()  # the reply may have come, and set it, just before this was cancelled
            raise
        return stat, watch

    async def get_watch(self, path: str) -> tuple[bytes, Stat, Watch]:
        """`get`, and a watch on the next deletion or change of data. Raises NoNode, NoAuth."""
        watch = Watch(self._namespace, path)
        try:
            data, stat = await self._submit(self._read(op.GET_DATA, path, read_node, ("data", watch))).result()
        except BaseException:
            watch.cancel()
            raise
        return data, stat, watch

    async def children_watch(self, path: str, *, watch: Watch | None = None) -> tuple[list[str], Watch]:
        """`children`, and a watch on the next change of the list, or the znode's deletion. Raises NoNode, NoAuth.

        watch: a Watch of another path; it then fires at the first event of either path.
        """
        watch = Watch(self._namespace, path) if watch is None else watch.join(path)
        try:
            names = await self._submit(self._read(op.GET_CHILDREN, path, read_names, ("child", watch))).result()
        except BaseException:
            watch.cancel()
            raise
        return names, watch

    def watch_deletion(
        self, path: str, gone: Callable[[], None], seen: Callable[[Stat], None] | None = None
    ) -> DeletionWatch:
        """Call `gone` once the znode is deleted or found missing, unless the watch is cancelled or the session ends.

        Call this in the client's event loop. The client's own task calls `gone` and `seen`, so they must not block or
        raise. seen: called with the Stat, once the watch is set and after each change of the data.
        """
        return DeletionWatch(self._namespace, path, gone, seen)

    def watch_creation(self, path: str, made: Callable[[], None]) -> CreationWatch:
        """Call `made` once the znode is created or found, unless the watch is cancelled or the session ends.

        As with `watch_deletion`, call this in the client's event loop; `made` must not block or raise.
        """
        return CreationWatch(self._namespace, path, made)

    def node_view(self, path: str, changed: Callable[[], None] | None = None, *, missing: bool = False) -> NodeView:
        """Data and Stat of a znode, kept current until the view is closed; see `View`."""
        return NodeView(self._namespace, path, changed, missing)

    def children_view(self, path: str, changed: Callable[[], None] | None = None) -> ChildrenView:
        """Names of a znode's children, kept current until the view is closed; see `View`."""
        return ChildrenView(self._namespace, path, changed)

    def watching(self, watcher: Watcher) -> Watching:
        """Reads that set watches for `watcher`, without a task; see `Watching`. For keeping many znodes current."""
        return Watching(self._namespace, watcher)

    def watch(self, path: str, *, recursive: bool = False) -> WatchStream:
        """`async with client.watch(path) as events:` a stream of every change at `path`; recursive: and below it.

        Entering the block raises NoAuth, and Unimplemented from a server before ZooKeeper 3.6. `WatchStream` says which
        events come, and how the stream ends.
        """
        return WatchStream(self._namespace, path, recursive)

    async def get_acl(self, path: str) -> tuple[list[ACL], Stat]:
        """Who may do what, and the Stat. Raises NoNode, NoAuth."""
        call = Call(
            op.GET_ACL,
            rq.encode_path(self._namespace.full(path)),
            lambda r, at: rq.decode_acl_stat(r, at)[:2],
            path=path,
            reads=True,
        )
        acl, stat = await self._submit(call).result()
        return acl, stat

    async def set_acl(self, path: str, acl: Sequence[ACL], version: int = -1) -> Stat:
        """Replace the ACL, if its version is `version` (-1: any). Raises NoNode, BadVersion, NoAuth, InvalidACL."""
        call = Call(op.SET_ACL, requests.set_acl(self._namespace, path, acl, version), read_stat, path=path)
        stat: Stat = await self._submit(call).result()
        return stat

    def multi(self) -> Multi:
        """Several writes that happen together or not at all; see `Multi`."""
        return Multi(self._namespace)

    async def multi_read(self, reads: Iterable[tuple[Literal["get", "children"], str]]) -> list[Read]:
        """Several reads in one request: `await client.multi_read([("get", "/a"), ("children", "/b")])`.

        Returns the results of `get` and `children` in the same order. A read that fails has its error in its place; the
        others are not affected. Raises BadArguments for any other word.
        """
        found: list[Read] = await self.start_multi_read(reads).result()
        return found

    def start_multi_read(self, reads: Iterable[tuple[Literal["get", "children"], str]]) -> Call:
        """`multi_read` without waiting: its result is the list."""
        asked = [(_read_kind(kind, path), path) for kind, path in reads]

        def decode(reply: bytes, at: int) -> Sequence[Read]:
            nodes = read_nodes(reply, at)
            if nodes is not None and len(nodes) == len(asked):
                return nodes
            found = rq.decode_multi(reply, at)
            return [
                store_error(err, path) if err else _read_result(kind, value)
                for (kind, err, value), (_, path) in zip(found, asked, strict=True)
            ]

        full = self._namespace.full
        parts = [_READ_HEADERS[kind] + rq.encode_path_watch(full(path), False) for kind, path in asked]
        return self._submit(Call(op.MULTI_READ, b"".join([*parts, rq.MULTI_END]), decode, reads=True))

    async def sync(self, path: str = "/") -> None:
        """Wait until this server has everything that its leader had committed when asked. Raises NotReadOnly."""
        await self._start_sync(path).result()

    def _start_sync(self, path: str) -> Call:
        return self._submit(Call(op.SYNC, rq.encode_path(self._namespace.full(path)), path=path, reads=True))

    async def _behind_sync(self, call: Call) -> Any:
        """The result of a read that is sent right behind a `sync`: a server answers a session's requests in order.

        If the connection breaks in between, the next server has at least what the last reply showed.
        """
        ahead = self._start_sync(call.path)
        self._submit(call)
        try:
            await ahead.result()
        except BaseException:
            call.abandoned = True
            raise
        return await call.result()

    async def ephemerals(self, prefix: str = "/") -> list[str]:
        """Paths of this session's ephemeral znodes that begin with `prefix`, sorted.

        Raises Unimplemented from a server before ZooKeeper 3.6.
        """
        call = Call(
            op.GET_EPHEMERALS, rq.encode_path(self._namespace.full(prefix)), read_children, path=prefix, reads=True
        )
        return sorted(self._namespace.shown(path) for path in await self._submit(call).result())

    async def count_descendants(self, path: str) -> int:
        """How many znodes are below `path`. Raises NoNode, and Unimplemented from a server before ZooKeeper 3.6."""
        call = Call(
            op.GET_ALL_CHILDREN_NUMBER, rq.encode_path(self._namespace.full(path)), un_int, path=path, reads=True
        )
        count: int = (await self._submit(call).result())[0]
        return count

    async def who_am_i(self) -> list[Id]:
        """The identities the server knows this client by. Raises Unimplemented from a server before ZooKeeper 3.7."""
        call = Call(op.WHO_AM_I, b"", lambda reply, at: rq.decode_who_am_i(reply, at)[0], reads=True)
        return [Id(text(scheme), text(user)) for scheme, user in await self._submit(call).result()]

    @abstractmethod
    def _submit(self, call: Call) -> Call: ...

    def _path_stat(self, reply: bytes, at: int) -> tuple[str, Stat]:
        path, stat, _ = rq.decode_path_stat(reply, at)
        return self._namespace.shown(path), stat

    def _read(
        self, kind: int, path: str, decode: Callable[[bytes, int], Any], watch: tuple[str, Watcher] | None = None
    ) -> Call:
        full = self._namespace.full(path)
        armed = None if watch is None else (watch[0], full, watch[1])
        return Call(kind, rq.encode_path_watch(full, watch is not None), decode, path=path, reads=True, watch=armed)


def _read_kind(kind: str, path: str) -> int:
    found = _READS.get(kind)
    if found is None:
        raise BadArguments(path, f"{kind!r}: expected 'get' or 'children'")
    return found


def _read_result(kind: int, value: Any) -> Read:
    if kind == op.GET_CHILDREN:
        return sorted(texts(value))
    data, stat = value
    return data or b"", stat
