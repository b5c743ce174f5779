"""A party's own znode in a round: the place in line of one that does not look who else is there."""

from contextlib import suppress
from typing import TYPE_CHECKING

from recipes.barrier import rounds
from recipes.barrier.book import RoundSettings
from recipes.contender import Contender
from recipes.core.errors import ConnectionLoss, HoldLost, RecipesError

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.client.session import Call


class Place(Contender):
    """Made by one request: how many came before is told by its number, so that most parties need no list of names."""

    def __init__(self, client: "Client", directory: str, settings: RoundSettings) -> None:
        super().__init__(client, directory, rounds.MARKER, HoldLost, acl=settings.acl, label=f"@{settings.name}")

    @property
    def name(self) -> str:
        """The name of the znode; "" before it is made."""
        return self._name

    async def _create_and_list(self) -> tuple[list[str], RecipesError | None]:
        create = self.client.start_create(self._prefix, ephemeral=True, sequential=True, acl=self._acl)
        self.asked = True
        try:
            await create.result()
        except RecipesError:
            pass  # the create has it, too
        finally:
            self._learn(create)
        return [], create.error


def delete_soon(client: "Client", path: str) -> None:
    """Have a znode of ours deleted, with what is sent next. Nobody waits for it."""

    def heard(call: "Call") -> None:
        if isinstance(call.error, ConnectionLoss):
            client.delete_later(path)

    multi = client.multi()
    multi.delete(path)
    with suppress(RecipesError):  # the session is over, and our znode goes with it
        multi.start(heard)
