"""A client bound to one session: work that began in that session never goes on in the next one by accident."""

from typing import TYPE_CHECKING, Any, NoReturn, Self

from recipes.core.client.call import Call
from recipes.core.client.client import Client
from recipes.core.client.namespace import Namespace
from recipes.core.client.session import ConnectionState, Session

if TYPE_CHECKING:
    from recipes.core.client.home import Home
    from recipes.core.client.task import ClientTask


class BoundClient(Client):
    """What `Client.bound` returns for a client that renews. It cannot be entered or closed."""

    def __init__(self, client: Client) -> None:
        # `__getattr__` takes everything that is not of one session from the client.
        self._client = client
        self.session: Session = client.session
        self.home: Home = client.home
        self._task: ClientTask = client._task
        self._namespace: Namespace = Namespace(self.session, self._submit, client._namespace.limit_bytes)
        self._namespace.chroot = client._namespace.chroot

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def __repr__(self) -> str:
        return f"<{self._client!r} bound to session 0x{self.session.id:x}{', which is lost' * self.session.lost}>"

    async def __aenter__(self) -> Self:
        raise RuntimeError("`client.bound` is valid for one session and is not entered: enter the client itself")

    async def __aexit__(self, *_: object) -> NoReturn:
        raise RuntimeError("`client.bound` is valid for one session and is not left: leave the client itself")

    @property
    def bound(self) -> Client:
        """Itself."""
        return self

    @property
    def state(self) -> ConnectionState:
        """The client's state while the session lives, then LOST for ever."""
        return ConnectionState.LOST if self.session.lost else self._client.state

    async def outlive(self, session_id: int) -> int:
        """As `Client.outlive`. The new session is the client's; this object stays with the old one."""
        return await self._client.outlive(session_id)

    def _submit(self, call: Call) -> Call:
        if self.session.lost:
            raise self._unusable(call.path)
        return self._client._submit(call)  # until this session is lost, it is the client's session
