"""A client for as long as one session: what has begun in a session is not carried on in the next one by accident."""

from typing import TYPE_CHECKING, Any, NoReturn, Self

from recipes.core.client.call import Call
from recipes.core.client.client import Client
from recipes.core.client.namespace import Namespace
from recipes.core.client.session import ConnectionState, Session

if TYPE_CHECKING:
    from recipes.core.client.home import Home
    from recipes.core.client.owner import Owner


class BoundClient(Client):
    """What `Client.bound` gives of a client that renews. Nobody enters or closes it."""

    def __init__(self, client: Client) -> None:
        # All that is not of one session, such as the state, is looked up in the client each time.
        self._client = client
        self.session: Session = client.session
        self.home: Home = client.home
        self._owner: Owner = client._owner
        self._namespace: Namespace = Namespace(self.session, self._submit, client._namespace.limit_bytes)
        self._namespace.chroot = client._namespace.chroot

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def __repr__(self) -> str:
        return f"<{self._client!r} bound to session 0x{self.session.id:x}{', which is lost' * self.session.lost}>"

    async def __aenter__(self) -> Self:
        raise RuntimeError("this is a client for as long as its session: enter the one that it belongs to")

    async def __aexit__(self, *_: object) -> NoReturn:
        raise RuntimeError("this is a client for as long as its session: leave the one that it belongs to")

    @property
    def bound(self) -> Client:
        """Itself."""
        return self

    @property
    def state(self) -> ConnectionState:
        """Where it stands: LOST for ever once its session is."""
        return ConnectionState.LOST if self.session.lost else self._client.state

    async def outlive(self, session_id: int) -> int:
        """As its client does it; what comes then is not for this one."""
        return await self._client.outlive(session_id)

    def _submit(self, call: Call) -> Call:
        if self.session.lost:
            raise self._unusable(call.path)
        return self._client._submit(call)  # whose session is this one, as long as it is not lost
