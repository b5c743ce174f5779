"""What a step does at its end, in whatever way it ends."""

import math
from contextlib import asynccontextmanager

import anyio

CLEAN_UP_SECONDS = 1.0


@asynccontextmanager
async def at_the_end(clean_up):
    """Await `clean_up()` at the end of the block. After a cancellation with a limit, as careful programs do.

    A task of asyncio is told of its cancellation once, so its clean-up would wait for as long as there is no server.
    """
    limit = math.inf
    try:
        yield
    except anyio.get_cancelled_exc_class():
        limit = CLEAN_UP_SECONDS
        raise
    finally:
        with anyio.move_on_after(limit):
            await clean_up()
