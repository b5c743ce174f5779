"""The znode of a fleet of coordinators: where its records are, and what all of the fleet agree on."""

import json
from typing import TYPE_CHECKING, NamedTuple

from recipes.core import paths
from recipes.core.errors import NoNode

if TYPE_CHECKING:
    from recipes.core.client.client import Client

RECORDS, COORDINATORS, SERVING = "records", "coordinators", "serving"


class Home(NamedTuple):
    """A fleet, as read. id: the fleet's part of its global ids. participants: names of its participants."""

    path: str
    name: str
    id: str
    participants: tuple[str, ...]

    @property
    def records(self) -> str:
        """The parent of the decision records."""
        return paths.join(self.path, RECORDS)


async def read_home(client: "Client", path: str, name: str) -> Home | None:
    """The fleet called `name` at `path`; None if nothing, or something else, is there."""
    where = paths.join(path, name)
    try:
        stored = json.loads((await client.get(where))[0])
        return Home(where, name, str(stored["fleet"]), tuple(str(stored["participants"]).split(",")))
    except (NoNode, ValueError, KeyError, TypeError):
        return None


async def living_coordinators(client: "Client", home: str) -> set[str]:
    """The names of the znodes of the coordinators that live. home: the path of the fleet.

    Their parent is a container: some time after the last of them has gone, it is gone too.
    """
    try:
        return set(await client.children(paths.join(home, COORDINATORS)))
    except NoNode:
        return set()
