"""Waiting by turns of the loop, and cancelling at each of them: nothing here depends on how long a turn takes."""

from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel


async def until(condition):
    """Return once `condition()` is true."""
    with anyio.fail_after(60):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def settled(store):
    """Return once nothing goes on any more, as far as turns of the loop can tell."""
    before = None
    while before != (before := (len(store.requests), len(store.watches))):
        for _ in range(30):
            await anyio.lowlevel.checkpoint()


async def cancel_at_each_turn(store, path, take, hold, turns):
    """Enter `take()` and cancel it after 0, 1, 2, ... turns; each time nothing of it is left below `path`.

    hold: made anew and held by somebody else meanwhile; None when nobody holds. How often `take()` came to its end is
    returned.
    """
    finished = 0

    async def work(scope):
        nonlocal finished
        with scope:
            async with take():
                await anyio.lowlevel.checkpoint()
            finished += 1

    for count in range(turns):
        async with AsyncExitStack() as stack:
            if hold is not None:
                await stack.enter_async_context(hold())
            scope = anyio.CancelScope()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work, scope)
                for _ in range(count):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
            assert len(store.names(path)) == (hold is not None)
        assert store.names(path) == []
        assert store.watches == []
    return finished
