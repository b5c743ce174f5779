"""`recipes move`: move the data of one machine's store to a server for several machines."""

import sys
from pathlib import Path
from typing import Annotated

import cyclopts

from recipes.cli.hosts import NothingListens
from recipes.core.errors import RecipesError
from recipes.store import moving
from recipes.store.directory import StoreDirectory, named_store

Now = Annotated[bool, cyclopts.Parameter(name="--now", negative=())]


def move(
    target: Path,
    *,
    store: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 2181,
    servers: str = "",
    now: Now = False,
) -> int:
    """Take the data of a store to TARGET, where `recipes serve TARGET/zoo.cfg` serves it to several machines.

    The store's process is ended. Programs that look for the store later get an error that says where its data is.

    Args:
        target: a new directory; a zoo.cfg is written there.
        store: directory of the store; else RECIPES_STORE, else ~/.local/state/recipes.
        host: address to listen at; 0.0.0.0 for all.
        port: where clients will connect.
        servers: HOST,HOST,HOST of an ensemble, of which TARGET becomes server 1.
        now: move the data even if the store has clients; their sessions end.
    """
    try:
        place = StoreDirectory(store) if store is not None else named_store(None)
        names = [name.strip() for name in servers.split(",") if name.strip()]
        if not 0 < port < 65536 or len(names) == 1:
            raise NothingListens(
                f"--port {port}, --servers {servers!r}: expected a port from 1 to 65535, and no servers or at least 2"
            )
        clients = moving.count_clients(place)
        if clients and not now:
            print(f"recipes move: the store {place.directory} has {clients} clients: end them first, or give --now",
                  file=sys.stderr)  # fmt: skip
            return 1
        zoo_cfg = moving.move(place, target, host, port, names)
    except RecipesError as error:
        print(f"recipes move: {error}", file=sys.stderr)
        return 1
    hosts = ",".join(f"{name}:{port}" for name in names) or f"{host.replace('0.0.0.0', 'THIS_MACHINE')}:{port}"
    print(f"the data of {place.directory} is in {zoo_cfg.parent}\n1. {_start(zoo_cfg, names)}\n"
          f"2. set RECIPES_HOSTS={hosts} for all that use it")  # fmt: skip
    return 0


def _start(zoo_cfg: Path, names: list[str]) -> str:
    if not names:
        return f"start the server: recipes serve {zoo_cfg}"
    return (
        f"start server 1 on {names[0]}, recipes serve {zoo_cfg}, together with one other on an empty directory, whose "
        "zoo.cfg is the same and whose myid is its number; the rest when these two serve"
    )
