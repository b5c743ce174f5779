"""All planted bugs by name."""

from collections.abc import Mapping

from recipes.core.errors import BadArguments
from recipes.lab.plants import backup, commit, multipaxos, paxos, raft, raft_logs, zab, zab_logs
from recipes.lab.plants.plant import Plant

PLANTS: Mapping[str, Plant] = {
    plant.name: plant
    for plant in (
        *backup.PLANTS, *commit.PLANTS, *paxos.PLANTS, *multipaxos.PLANTS, *raft.PLANTS, *raft_logs.PLANTS, *zab.PLANTS,
        *zab_logs.PLANTS,
    )
}  # fmt: skip


def plant_of(name: str) -> Plant:
    """The planted bug with this name. Raises BadArguments if there is none."""
    found = PLANTS.get(name)
    if found is None:
        raise BadArguments("", f"no planted bug is called {name!r}: expected one of {', '.join(PLANTS)}")
    return found
