"""Deletion, by the client's own task, of znodes that nobody waits for any more."""

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from recipes.core import paths
from recipes.core.client.backoff import pauses
from recipes.core.errors import ConnectionLoss, NoNode, SessionError, StoreError, ThrottledOp

if TYPE_CHECKING:
    from recipes.core.client.client import Client

log: logging.Logger = logging.getLogger("recipes.client")


async def delete_surely(client: "Client", path: str, *, prefix: bool) -> None:
    """Delete a znode; retry while connections break or the server is too busy. Raises nothing.

    prefix: delete all children of the parent whose paths begin with `path`.
    """
    # Loaded here, since most clients leave nothing undone.
    from tenacity import AsyncRetrying, retry_if_exception_type

    async def delete_once() -> None:
        for each in await _beginning(client, path) if prefix else [path]:
            with suppress(NoNode):
                await client.delete(each)

    rounds = pauses(client.random, shortest=0.02, longest=2.0, least=0.5)
    again = AsyncRetrying(
        sleep=anyio.sleep,
        wait=lambda state: next(rounds),
        retry=retry_if_exception_type((ConnectionLoss, ThrottledOp)),
    )
    try:
        await again(delete_once)
    except (NoNode, SessionError):
        pass
    except StoreError as error:
        if not client.session.lost:
            log.warning("the servers refuse to delete a znode, so it stays: %s", error)


async def _beginning(client: "Client", prefix: str) -> list[str]:
    parent, _, start = prefix.rpartition("/")
    parent = parent or "/"
    # The current server may not have applied yet what the previous server confirmed.
    await client.sync(parent)
    return [paths.join(parent, name) for name in await client.children(parent) if name.startswith(start)]
