"""Caches in both ways: one watch for everything, and watches on each znode as on servers before ZooKeeper 3.6."""

import pytest

from recipes.cache import TreeCache

SECONDS = 60


class EachWatched(TreeCache):
    """As TreeCache is where the server has no recursive watches."""

    _recursive = False


@pytest.fixture(params=[TreeCache, EachWatched], ids=["recursive", "each"])
def kind(request):
    return request.param


async def tree_of(client, path):
    """What is in the store: path -> (data, Stat)."""
    await client.sync(path)
    found, todo = {}, [path]
    while todo:
        each = todo.pop()
        stat = await client.exists(each)
        if stat is not None:
            found[each] = await client.get(each)
            todo += [f"{each}/{name}" for name in await client.children(each)]
    return found
