"""Every operation on znodes as a method."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from recipes.core import paths
from recipes.core.client.session import Call, Session, Watcher
from recipes.core.client.transaction import Transaction
from recipes.core.client.watch import DeletionWatch, Watch, WatchStream
from recipes.core.errors import BadArguments, NoAuth, NodeExists, NoNode, RecipesError, store_error
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.codec import text, un_int
from recipes.core.jute.records import ACL, Id, Stat, decode_stat

OPEN_ACL = (ACL(op.ALL, Id("world", "anyone")),)

Read = tuple[bytes, Stat] | list[str] | RecipesError


class Operations(ABC):
    """What a client can ask of the store. Those that `start_*` put a request on its way and do not wait."""

    session: Session
    _chroot = ""

    @abstractmethod
    def submit(self, call: Call) -> Call:
        """Put a request on its way without waiting; `await call.result()` gives its outcome."""

    def full(self, path: str) -> bytes:
        """The server's path of this client's `path`. Raises BadArguments when it is not a path."""
        paths.check(path)
        if not self._chroot:
            return path.encode()
        return (self._chroot if path == "/" else self._chroot + path).encode()

    def shown(self, full: bytes) -> str:
        """This client's path of a server's."""
        path = text(full)
        if self._chroot and path.startswith(self._chroot):
            return path[len(self._chroot) :] or "/"
        return path

    async def create(self, path: str, data: bytes = b"", **how: Any) -> str:
        """Create a znode and return its path; see `create2` for the arguments."""
        return (await self.create2(path, data, **how))[0]

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

        ephemeral: it goes with the session. sequential: the server puts a number of ten digits behind the path.
        container: it goes some time after its last child. ttl: seconds without change or children after which it
        goes. acl: who may do what; everybody everything without it. make_parents: create what is missing above.

        Raises NodeExists, NoNode (the parent), NoAuth, InvalidACL, NoChildrenForEphemerals, ConnectionLoss.
        """
        kind, body = self.create_body(path, data, ephemeral, sequential, container, ttl, acl)
        created: tuple[str, Stat]
        try:
            created = await self.submit(Call(kind, body, self._path_stat, path=path)).result()
        except NoNode:
            if not make_parents:
                raise
            await self.ensure_path(path.rpartition("/")[0] or "/")
            created = await self.submit(Call(kind, body, self._path_stat, path=path)).result()
        return created

    def start_create(self, path: str, data: bytes = b"") -> Call:
        """A create2 of a persistent znode, of which the result is its path and Stat."""
        kind, body = self.create_body(path, data, False, False, False, None, None)
        return self.submit(Call(kind, body, self._path_stat, path=path))

    def start_place(self, path: str, data: bytes) -> Call:
        """A create2 of an ephemeral sequential znode, of which the result is its path and Stat."""
        kind, body = self.create_body(path, data, True, True, False, None, None)
        return self.submit(Call(kind, body, self._path_stat, path=path))

    def create_body(
        self,
        path: str,
        data: bytes,
        ephemeral: bool,
        sequential: bool,
        container: bool,
        ttl: float | None,
        acl: Sequence[ACL] | None,
    ) -> tuple[int, bytes]:
        """Opcode and body of a create, for those inside the client."""
        if (container and (ephemeral or sequential or ttl is not None)) or (ephemeral and ttl is not None):
            raise BadArguments(path, "a container is neither ephemeral, sequential nor with a ttl, nor is an ephemeral")
        # The server validates what it stores; with a number to come the path may end in a slash.
        full = self.full(path + "0")[:-1] if sequential else self.full(path)
        _check_data(data)
        entries = OPEN_ACL if acl is None else acl
        if container:
            return op.CREATE_CONTAINER, rq.encode_create(full, data, entries, op.CONTAINER)
        if ttl is not None:
            flags = op.PERSISTENT_SEQUENTIAL_WITH_TTL if sequential else op.PERSISTENT_WITH_TTL
            return op.CREATE_TTL, rq.encode_create(full, data, entries, flags, int(ttl * 1000))
        return op.CREATE2, rq.encode_create(full, data, entries, ephemeral + 2 * sequential)

    async def ensure_path(self, path: str, *, container: bool = False) -> None:
        """Create the znode and everything above it, as far as it is missing; `container` says of which kind.

        Raises NoNode when this client's chroot is missing: it is not for a client to create.
        """
        names = [name for name in paths.check(path).split("/") if name]
        depth = 0
        while depth < len(names):
            above = "/" + "/".join(names[: depth + 1])
            try:
                await self.create(above, container=container)
            except NodeExists:
                pass
            except NoAuth:  # said before a server looks whether it exists
                if await self.exists(above) is None:
                    raise
            except NoNode:
                if depth == 0:
                    raise NoNode(above, "the chroot is missing") from None
                depth = 0  # an empty container above was reaped in between: begin again
                continue
            depth += 1

    async def get(self, path: str) -> tuple[bytes, Stat]:
        """Data and Stat. Raises NoNode, NoAuth."""
        data, stat = await self.submit(self._read(op.GET_DATA, path, _data_stat)).result()
        return data, stat

    async def set(self, path: str, data: bytes, version: int = -1) -> Stat:
        """Replace the data, if the znode has this `version` (-1: any). Raises NoNode, BadVersion, NoAuth."""
        call = Call(op.SET_DATA, self.set_body(path, data, version), _stat, path=path)
        stat: Stat = await self.submit(call).result()
        return stat

    def set_body(self, path: str, data: bytes, version: int) -> bytes:
        """Body of a setData, for those inside the client."""
        _check_data(data)
        return rq.encode_set_data(self.full(path), data, version)

    async def delete(self, path: str, version: int = -1) -> None:
        """Delete, if the znode has this `version` (-1: any). Raises NoNode, BadVersion, NotEmpty, NoAuth."""
        await self.submit(Call(op.DELETE, rq.encode_path_version(self.full(path), version), path=path)).result()

    async def exists(self, path: str) -> Stat | None:
        """Stat, or None when there is no such znode."""
        try:
            stat: Stat = await self.submit(self._read(op.EXISTS, path, _stat)).result()
        except NoNode:
            return None
        return stat

    async def children(self, path: str) -> list[str]:
        """Names of the children, sorted. Raises NoNode, NoAuth."""
        names: list[str] = await self.start_children(path).result()
        return names

    def start_children(self, path: str) -> Call:
        """`children`, of which the result is the same."""
        return self.submit(self._read(op.GET_CHILDREN, path, _names))

    async def exists_watch(self, path: str) -> tuple[Stat | None, Watch]:
        """`exists`, and a watch on the next creation, deletion or change of data."""
        watch = Watch(self, path)
        try:
            stat: Stat = await self.submit(self._read(op.EXISTS, path, _stat, ("data", watch))).result()
        except NoNode:
            return None, watch
        return stat, watch

    async def get_watch(self, path: str) -> tuple[bytes, Stat, Watch]:
        """`get`, and a watch on the next deletion or change of data."""
        watch = Watch(self, path)
        data, stat = await self.submit(self._read(op.GET_DATA, path, _data_stat, ("data", watch))).result()
        return data, stat, watch

    async def children_watch(self, path: str) -> tuple[list[str], Watch]:
        """`children`, and a watch on the next change of the list, or the znode's deletion."""
        watch = Watch(self, path)
        names = await self.submit(self._read(op.GET_CHILDREN, path, _names, ("child", watch))).result()
        return names, watch

    def watch_deletion(self, path: str, gone: Callable[[], None]) -> DeletionWatch:
        """Call `gone` once the znode is not there, until the watch is cancelled or the session is over."""
        return DeletionWatch(self, path, gone)

    def watch(self, path: str, *, recursive: bool = False) -> WatchStream:
        """`async with client.watch(path) as events:` every change at `path`, or also below it, as a stream."""
        self.full(path)
        return WatchStream(self, path, recursive)

    async def get_acl(self, path: str) -> tuple[list[ACL], Stat]:
        """Who may do what, and the Stat."""
        call = Call(
            op.GET_ACL,
            rq.encode_path(self.full(path)),
            lambda r, at: rq.decode_acl_stat(r, at)[:2],
            path=path,
            reads=True,
        )
        acl, stat = await self.submit(call).result()
        return acl, stat

    async def set_acl(self, path: str, acl: Sequence[ACL], version: int = -1) -> Stat:
        """Replace the ACL, if its version is `version` (-1: any). Raises NoNode, BadVersion, NoAuth, InvalidACL."""
        call = Call(op.SET_ACL, rq.encode_set_acl(self.full(path), acl, version), _stat, path=path)
        stat: Stat = await self.submit(call).result()
        return stat

    def transaction(self) -> Transaction:
        """Several writes that happen together or not at all."""
        return Transaction(self)

    async def multi_read(self, reads: Iterable[tuple[Literal["get", "children"], str]]) -> list[Read]:
        """Several reads in one request: `await client.multi_read([("get", "/a"), ("children", "/b")])`.

        Gives, in the same order, what `get` and `children` would; a read that fails gives its error in its place and
        leaves the others alone.
        """
        kinds = {"get": op.GET_DATA, "children": op.GET_CHILDREN}
        asked = [(kinds[kind], path) for kind, path in reads]
        body = rq.encode_multi([(kind, rq.encode_path_watch(self.full(path), False)) for kind, path in asked])
        found = await self.submit(Call(op.MULTI_READ, body, rq.decode_multi, reads=True)).result()
        return [
            store_error(err, path) if err else _read_result(kind, value)
            for (kind, err, value), (_, path) in zip(found, asked, strict=True)
        ]

    async def sync(self, path: str = "/") -> None:
        """Wait until this server has what its leader had committed when it was asked."""
        await self.submit(Call(op.SYNC, rq.encode_path(self.full(path)), path=path, reads=True)).result()

    async def ephemerals(self, prefix: str = "/") -> list[str]:
        """Paths of this session's ephemeral znodes that begin with `prefix`, sorted."""
        call = Call(op.GET_EPHEMERALS, rq.encode_path(self.full(prefix)), _children, path=prefix, reads=True)
        return sorted(self.shown(path) for path in await self.submit(call).result())

    async def count_descendants(self, path: str) -> int:
        """How many znodes are below `path`."""
        call = Call(op.GET_ALL_CHILDREN_NUMBER, rq.encode_path(self.full(path)), un_int, path=path, reads=True)
        count: int = (await self.submit(call).result())[0]
        return count

    async def who_am_i(self) -> list[Id]:
        """The identities the server knows this client by."""
        call = Call(op.WHO_AM_I, b"", lambda reply, at: rq.decode_who_am_i(reply, at)[0], reads=True)
        return [Id(text(scheme), text(user)) for scheme, user in await self.submit(call).result()]

    def _path_stat(self, reply: bytes, at: int) -> tuple[str, Stat]:
        path, stat, _ = rq.decode_path_stat(reply, at)
        return self.shown(path), stat

    def _read(
        self, kind: int, path: str, decode: Callable[[bytes, int], Any], watch: tuple[str, Watcher] | None = None
    ) -> Call:
        full = self.full(path)
        armed = None if watch is None else (watch[0], full, watch[1])
        return Call(kind, rq.encode_path_watch(full, watch is not None), decode, path=path, reads=True, watch=armed)


def _check_data(data: object) -> None:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"data: expected bytes, not {type(data).__name__}")


def _read_result(kind: int, value: Any) -> Read:
    if kind == op.GET_CHILDREN:
        return sorted(text(name) for name in value)
    data, stat = value
    return data or b"", stat


def _stat(reply: bytes, at: int) -> Stat:
    return decode_stat(reply, at)[0]


def _data_stat(reply: bytes, at: int) -> tuple[bytes, Stat]:
    data, stat, _ = rq.decode_data_stat(reply, at)
    return data or b"", stat


def _children(reply: bytes, at: int) -> list[bytes]:
    return rq.decode_children(reply, at)[0]


def _names(reply: bytes, at: int) -> list[str]:
    return sorted(text(name) for name in _children(reply, at))
