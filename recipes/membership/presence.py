"""An ephemeral znode that is made again after a loss, with the newest data (Curator's PersistentNode)."""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from recipes.core import paths
from recipes.core.client.backoff import Backoff
from recipes.core.client.late_scope import LateScope
from recipes.core.client.scope import CLOSED
from recipes.core.client.session import ConnectionState
from recipes.core.errors import (
    ClientClosed,
    ConnectionLoss,
    HoldLost,
    NodeExists,
    NoNode,
    RecipesError,
    SessionError,
    ThrottledOp,
)
from recipes.hold import Tenure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL

log: logging.Logger = logging.getLogger("recipes.membership")

_STOOD_SECONDS = 1.0  # if a znode is gone sooner, the pause before the next one grows


class Presence:
    """`async with`: an ephemeral znode of ours that exists as long as the block goes on, as far as that is possible.

    It is made again whenever it is gone: after somebody deleted it, and, with a client that was made with `renew`, in
    the next session. The block is not cancelled meanwhile; `present` says whether the znode exists. Entering waits
    until it exists for the first time, and leaving deletes it. Entering and waiting raise the error that ended it for
    good.

    losses: how many sessions it has outlived. error: what ended it for good: SessionExpired without `renew`,
    AuthFailed, ClientClosed, or a server's refusal, such as NoAuth; None while it goes on.
    """

    def __init__(self, client: "Client", begin: Callable[[bytes], Tenure], data: bytes) -> None:
        self.losses: int = 0
        self.error: RecipesError | None = None
        self._client = client
        self._begin = begin
        self._data = data
        self._written = data  # the data in the znode
        self._tenure: Tenure | None = None
        self._gone: Tenure | None = None  # a tenure that ended against our will
        self._backoff = Backoff(client.random)
        self._since = 0.0
        self._job_of: Client | None = None  # the client in whose session a job makes the znode
        self._job: LateScope | None = None
        self._changed = anyio.Event()
        self._entered = self._open = False
        self._stop_listening: Callable[[], object] = lambda: None

    def __repr__(self) -> str:
        state = "present" if self.present else f"ended: {self.error}" if self.error else "not there"
        return f"<{type(self).__name__} {self.path or ''}: {state}>"

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("this block was entered already: make another one")
        self._client.session_scope()  # raises, as every call does, if the client cannot be used here or any more
        self._entered = self._open = True
        self._stop_listening = self._client.add_state_listener(self._heard_state)
        try:
            self._start()
            await self.wait_present()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    @property
    def present(self) -> bool:
        """Whether our znode exists, as far as this process can know; the session is then sure to be alive."""
        return self._tenure is not None and not self._tenure.ended.is_set()

    @property
    def path(self) -> str:
        """The path of our znode; "" while it does not exist."""
        return self._tenure.path if self._tenure is not None else ""

    @property
    def fence(self) -> int:
        """czxid of our znode, higher each time that it is made anew; 0 while it does not exist."""
        return self._tenure.fence if self._tenure is not None else 0

    @property
    def data(self) -> bytes:
        """The data of our znode, or of the next one."""
        return self._data

    async def wait_present(self) -> None:
        """Return once our znode exists. Raises the error that ended this for good."""
        await self._wait()

    async def update(self, data: bytes) -> None:
        """Replace our znode's data, and return once they are stored. If it does not exist now, it is made with them.

        Raises the error that ended this for good. After a cancellation the data are written at the next occasion.
        """
        self._data = data
        while True:
            tenure = await self._wait()
            if self._written == self._data:
                return
            try:
                written = self._data
                await tenure.client.set(tenure.path, written)
                if tenure is self._tenure:
                    self._written = written
            except (NoNode, ConnectionLoss, ThrottledOp):
                await anyio.sleep(self._client.random.uniform(0.01, 0.05))
            except SessionError:
                if not self._client.renews:
                    raise
                await anyio.sleep(self._client.random.uniform(0.01, 0.05))

    async def _wait(self) -> Tenure:
        while True:
            if self.error is not None:
                raise self.error
            if not self._open:
                raise RuntimeError("a znode is kept present inside its `async with` block only")
            if self._tenure is not None and self.present:
                return self._tenure
            changed = self._changed
            await changed.wait()

    def _heard_state(self, state: ConnectionState) -> None:
        if state is ConnectionState.CONNECTED:
            if self._tenure is None:
                self._start()
        elif state is ConnectionState.CLOSED:
            self._fail(ClientClosed("the client is closed"))
        elif state is ConnectionState.LOST and self._client.renews:
            self.losses += 1
            self._lose()
        elif state is ConnectionState.LOST:
            self._fail(self._client.session.ending(path=self.path))

    def _start(self) -> None:
        """Have a job of the client make our znode."""
        bound = self._client.bound
        if self._open and self.error is None and self._job_of is not bound and not bound.session.lost:
            scope = LateScope()
            self._job_of, self._job = bound, scope
            bound.look_after(partial(self._make, bound, scope))

    async def _make(self, bound: "Client", scope: LateScope) -> None:
        try:
            with scope:
                await self._forget_gone()
                while not await self._make_once(bound):
                    await self._backoff.pause()
        except RecipesError as error:
            if not bound.session.lost:  # else the next session makes the znode
                self._fail(error)
        finally:
            if self._job is scope:
                self._job_of = None

    async def _make_once(self, bound: "Client") -> bool:
        data = self._data
        tenure = self._begin(data)
        try:
            await tenure.enter(as_block=False)
        except (HoldLost, ConnectionLoss, ThrottledOp):
            return bound.session.lost  # the znode was deleted at once, or the try failed: try again
        if not self._open or bound.session.lost:
            with suppress(HoldLost):
                await tenure.exit(None)
            return True
        self._job_of = None
        self._tenure, self._written, self._since = tenure, data, self._client.clock()
        if self.losses or self._gone is not None:
            log.info("%s was made again, in session 0x%x", tenure.path, bound.session.id)
        self._wake()
        tenure.ended.listen(partial(self._ended, tenure))
        return True

    def _ended(self, tenure: Tenure) -> None:
        """Called when the hold ends: the session is over, the client closes, or somebody deleted our znode."""
        if tenure is self._tenure:
            self._lose()
            if tenure.ended.why != CLOSED:
                self._start()

    def _lose(self) -> None:
        if self._tenure is not None:
            self._tenure, self._gone = None, self._tenure
            self._wake()

    async def _forget_gone(self) -> None:
        gone, self._gone = self._gone, None
        if gone is not None:
            with suppress(HoldLost):
                await gone.exit(None)
            if self._client.clock() - self._since > _STOOD_SECONDS:
                self._backoff = Backoff(self._client.random)
            await self._backoff.pause()

    def _fail(self, error: RecipesError) -> None:
        if self.error is None:
            self.error = error
            self._lose()
            self._wake()

    async def _leave(self) -> None:
        self._open = False
        self._stop_listening()
        if self._job is not None:
            self._job.cancel()
        self._wake()
        tenure, self._tenure = self._tenure, None
        if tenure is not None:
            with suppress(HoldLost):
                await tenure.exit(None)

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class EphemeralNode(Presence):
    """`async with EphemeralNode(client, "/services/a", b"10.0.0.1:80") as node:` a znode that is kept present.

    client: a connected Client; made with `renew`, the znode outlives the loss of a session. path: of the znode;
    missing ancestors are made, as containers. data: of the znode; `node.update(data)` replaces them. acl: of the znode;
    without it everybody may do everything.

    If several clients want the same path, one has it and the others wait until that znode is gone. This one also waits
    for a znode that its own lost session, or a process before this one, left there: at most until that session ends. It
    only deletes znodes of its own session. Entering raises NodeExists if a znode stands there that belongs to no
    session, and what every call of the client raises: see Lock.
    """

    def __init__(self, client: "Client", path: str, data: bytes = b"", *, acl: "Sequence[ACL] | None" = None) -> None:
        paths.check(path)
        super().__init__(client, lambda newest: _Place(client, path, newest, acl), data)


class _Place(Tenure):
    """One session's ephemeral znode at a fixed path."""

    def __init__(self, client: "Client", path: str, data: bytes, acl: "Sequence[ACL] | None") -> None:
        super().__init__(client, path, path, HoldLost)
        self._at = path
        self._data = data
        self._acl = acl

    async def obtain(self, wait: bool) -> bool:
        """Make the znode. wait: wait until another znode at the path is gone."""
        client = self.client
        backoff = Backoff(client.random)
        while True:
            self.asked, self._sure = True, False
            try:
                _, stat = await client.create2(self._at, self._data, ephemeral=True, acl=self._acl)
            except NoNode:
                self.asked = False
                above = self._at.rpartition("/")[0]
                if not above:
                    raise  # the chroot is missing
                await client.ensure_path(above, container=True)
            except NodeExists:
                if await self._is_ours():
                    return True
                if not wait:
                    return False
                await self._wait_gone()
            except ConnectionLoss:
                await backoff.pause()
            else:
                self._take(stat.czxid)
                return True

    async def _is_ours(self) -> bool:
        """Whether the znode is this session's: made by a create whose reply was lost, or not yet deleted."""
        stat = await self.client.exists(self._at)
        if stat is not None and stat.ephemeral_owner == self.client.session.id:
            with suppress(NoNode):  # somebody deletes it, such as an earlier block of ours
                await self.client.set(self._at, self._data)
                self._take(stat.czxid)
                return True
        self.asked = False
        return False

    async def _wait_gone(self) -> None:
        stat, watch = await self.client.exists_watch(self._at)
        try:
            if stat is not None and stat.ephemeral_owner == 0:
                raise NodeExists(self._at, "it is not ephemeral, so no session takes it away when it ends")
            if stat is not None:
                await watch.wait()
        finally:
            watch.cancel()

    def _take(self, czxid: int) -> None:
        self.path: str = self._at
        self.fence: int = czxid
        self._sure: bool = True

    def _hand_over(self) -> None:
        if self.asked and not self.client.session.lost and self.ended.why != CLOSED:
            self.client.look_after(self._delete_ours)
        self.asked: bool = False

    async def _delete_ours(self) -> None:
        """Delete the znode if its session is ours: by now it may be somebody else's."""
        backoff = Backoff(self.client.random)
        while True:
            try:
                stat = await self.client.exists(self._at)
                if stat is not None and stat.ephemeral_owner == self.client.session.id:
                    await self.client.delete(self._at)
            except (ConnectionLoss, ThrottledOp):
                await backoff.pause()
            except RecipesError:
                return
            else:
                return
