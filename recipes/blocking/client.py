"""The client for threads. Its event loop runs in a thread of its own."""

import atexit
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

from recipes.blocking.atomic import Transaction, run_atomically
from recipes.blocking.block import Block
from recipes.blocking.hold import documented_by
from recipes.blocking.portal import Portal
from recipes.blocking.watching import Multi, View, Watch, WatchStream
from recipes.core.client import client as of_tasks
from recipes.core.client.connect import connect as connect_async
from recipes.core.client.operations import Read
from recipes.core.client.session import ConnectionState
from recipes.core.client.view import Node
from recipes.core.jute.frames import MAX_FRAME_BYTES
from recipes.core.jute.records import ACL, Id, Stat

R = TypeVar("R")


def connect(
    hosts: str | None = None,
    *,
    data_dir: str | Path | None = None,
    private: bool = False,
    session_timeout: float = 15.0,
    auth: Sequence[tuple[str, str]] = (),
    tls: ssl.SSLContext | None = None,
    read_only: bool = False,
    renew: bool = False,
    max_request_bytes: int = MAX_FRAME_BYTES,
) -> "Client":
    """`with connect("host:port,host:port/chroot") as client:`; see recipes.connect for the arguments and errors.

    Entering it raises RuntimeError if an event loop runs in this thread. A client that is still open when the
    interpreter ends is closed then.
    """
    client = connect_async(
        hosts,
        data_dir=data_dir,
        private=private,
        session_timeout=session_timeout,
        auth=auth,
        tls=tls,
        read_only=read_only,
        renew=renew,
        max_request_bytes=max_request_bytes,
    )
    return Client(client)


@documented_by(of_tasks.Client)
class Client:
    """One session, or several in turn, which any number of threads may use. Made by `connect`; see there.

    No call waits longer than a session takes to be lost, or to begin: then the call raises the reason. Calls that wait
    for others take `within`. In a forked child every call raises RuntimeError, and touches nothing of the parent's; the
    child makes a client of its own.

    of_tasks: the async client behind it. portal: its thread. Both are for the recipes.
    """

    def __init__(self, client: of_tasks.Client) -> None:
        self.of_tasks: of_tasks.Client = client
        self.portal: Portal = Portal()
        self._block: Block[of_tasks.Client, None] = Block(self.portal, lambda: client, lambda _: None)

    def __repr__(self) -> str:
        return repr(self.of_tasks)

    def __enter__(self) -> Self:
        self.portal.start()
        try:
            self._block.__enter__()
            atexit.register(self._close_at_exit, os.getpid())
            return self  # noqa: TRY300 - an interruption may strike up to here
        except BaseException as error:
            self._block.interrupt(error)
            self.portal.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self.portal.in_child():
            return self._block.__exit__(kind, error, trace)
        atexit.unregister(self._close_at_exit)
        try:
            return self._block.__exit__(kind, error, trace)
        finally:
            self.portal.close()

    def _close_at_exit(self, pid: int) -> None:
        if os.getpid() == pid:
            with suppress(Exception):  # for example, a thread that it needs can no longer be started
                self.__exit__(None, None, None)

    @property
    def state(self) -> ConnectionState:
        return self.of_tasks.state

    @property
    def server(self) -> str | None:
        return self.of_tasks.server

    @property
    def session_id(self) -> int:
        return self.of_tasks.session_id

    @property
    def session_timeout(self) -> float:
        return self.of_tasks.session_timeout

    @property
    def losses(self) -> int:
        """How many sessions it has outlived."""
        return self.of_tasks.losses

    @property
    def renews(self) -> bool:
        return self.of_tasks.renews

    def outlive(self, session_id: int, *, within: float | None = None) -> int:
        """Wait until this client is connected with another session than `session_id`; return the id of the new one.

        within: seconds to wait at most; then TimeoutError. Raises the error that ended the session if no other session
        follows: SessionExpired from a client that does not renew, AuthFailed, ClientClosed.
        """
        return self.portal.call(lambda: self.of_tasks.outlive(session_id), within)

    def states(self, *, within: float | None = None) -> Iterator[ConnectionState]:
        """The state now and each one after it, until CLOSED, or LOST when no other session follows.

        Of quick changes only the last is seen.
        within: seconds to wait for the next one at most; then the iteration ends.
        """
        return self.portal.iterate(self.of_tasks.states(), within)

    def add_auth(self, scheme: str, credentials: str) -> None:
        self.portal.call(lambda: self.of_tasks.add_auth(scheme, credentials))

    def create(
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
        path, _ = self.create2(
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

    def create2(
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
        return self.portal.call(
            lambda: self.of_tasks.create2(
                path,
                data,
                ephemeral=ephemeral,
                sequential=sequential,
                container=container,
                ttl=ttl,
                acl=acl,
                make_parents=make_parents,
            )
        )

    def ensure_path(self, path: str, *, container: bool = False) -> None:
        self.portal.call(lambda: self.of_tasks.ensure_path(path, container=container))

    def get(self, path: str, *, latest: bool = False) -> tuple[bytes, Stat]:
        return self.portal.call(lambda: self.of_tasks.get(path, latest=latest))

    def set(self, path: str, data: bytes, version: int = -1) -> Stat:
        return self.portal.call(lambda: self.of_tasks.set(path, data, version))

    def delete(self, path: str, version: int = -1) -> None:
        self.portal.call(lambda: self.of_tasks.delete(path, version))

    def delete_later(self, path: str, *, prefix: bool = False) -> None:
        self.portal.run(lambda: self.of_tasks.delete_later(path, prefix=prefix))

    def exists(self, path: str, *, latest: bool = False) -> Stat | None:
        return self.portal.call(lambda: self.of_tasks.exists(path, latest=latest))

    def children(self, path: str, *, latest: bool = False) -> list[str]:
        return self.portal.call(lambda: self.of_tasks.children(path, latest=latest))

    def exists_watch(self, path: str) -> tuple[Stat | None, Watch]:
        stat, watch = self.portal.call(lambda: self.of_tasks.exists_watch(path))
        return stat, Watch(self.portal, watch)

    def get_watch(self, path: str) -> tuple[bytes, Stat, Watch]:
        data, stat, watch = self.portal.call(lambda: self.of_tasks.get_watch(path))
        return data, stat, Watch(self.portal, watch)

    def children_watch(self, path: str) -> tuple[list[str], Watch]:
        names, watch = self.portal.call(lambda: self.of_tasks.children_watch(path))
        return names, Watch(self.portal, watch)

    def node_view(self, path: str) -> View[Node]:
        """`with client.node_view(path) as view:` data and Stat of a znode, kept current until the block ends."""
        return View(self.portal, lambda: self.of_tasks.node_view(path))

    def children_view(self, path: str) -> View[list[str]]:
        """`with client.children_view(path) as view:` names of a znode's children, kept current until the block ends."""
        return View(self.portal, lambda: self.of_tasks.children_view(path))

    def watch(self, path: str, *, recursive: bool = False, within: float | None = None) -> WatchStream:
        """`with client.watch(path) as events: for event in events:` every change at `path`, or also below it.

        within: seconds that an iteration waits for the next event at most; then it ends, and another one can begin. No
        event is lost in between. Entering it raises NoAuth, and Unimplemented from a server before ZooKeeper 3.6.
        `WatchStream` says which events come, and how it ends.
        """
        return WatchStream(self.portal, self.of_tasks.watch(path, recursive=recursive), within)

    def get_acl(self, path: str) -> tuple[list[ACL], Stat]:
        return self.portal.call(lambda: self.of_tasks.get_acl(path))

    def set_acl(self, path: str, acl: Sequence[ACL], version: int = -1) -> Stat:
        return self.portal.call(lambda: self.of_tasks.set_acl(path, acl, version))

    def multi(self) -> Multi:
        """Several writes that happen together or not at all; see `Multi`."""
        return Multi(self.portal, self.of_tasks.multi())

    def atomically(self, fn: Callable[[Transaction], R], *, attempts: int = 30) -> R:
        """Call `fn(transaction)` in this thread, make its writes as if at one moment, and return its result.

        fn: reads and writes through the Transaction that it gets, and has no other effects: it is called again if
        others meanwhile changed what it had read. An exception of `fn` is raised here, and nothing is written.
        attempts: how often it is called at most. Raises UpdateConflict if all failed; see recipes.Client.atomically.
        """
        return run_atomically(self.portal, self.of_tasks, fn, attempts)

    def multi_read(self, reads: Iterable[tuple[Literal["get", "children"], str]]) -> list[Read]:
        """Several reads in one request: `client.multi_read([("get", "/a"), ("children", "/b")])`.

        Returns, in the same order, the results of `get` and `children`. A read that fails gives its error in its place,
        and does not affect the others. Raises BadArguments for a word that is neither of these two.
        """
        here = list(reads)
        return self.portal.call(lambda: self.of_tasks.multi_read(here))

    def sync(self, path: str = "/") -> None:
        self.portal.call(lambda: self.of_tasks.sync(path))

    def ephemerals(self, prefix: str = "/") -> list[str]:
        return self.portal.call(lambda: self.of_tasks.ephemerals(prefix))

    def count_descendants(self, path: str) -> int:
        return self.portal.call(lambda: self.of_tasks.count_descendants(path))

    def who_am_i(self) -> list[Id]:
        return self.portal.call(self.of_tasks.who_am_i)
