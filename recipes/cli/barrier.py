"""`recipes barrier`: hold programs up at a gate, and let them all go at once."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import anyio
from cyclopts import App, Parameter

from recipes import Barrier
from recipes.cli.access import Access, Switch
from recipes.cli.terminal import complain, say

CLOSED = 69  # EX_UNAVAILABLE of sysexits.h
_ANYWHERE = Access()

barrier: App = App(name="barrier", help="Hold programs up at a gate, and let them all go: see docs/barriers.md.")
Where = Annotated[Access, Parameter(name="*")]


@barrier.command
def create(path: str, /, *, json: Switch = False, access: Where = _ANYWHERE) -> int:
    """Close the gate: from now on `recipes barrier wait PATH` waits.

    Args:
        path: the barrier's znode.
        json: print one JSON object; `changed` is false when it was closed already.
    """

    async def act(barrier: Barrier) -> int:
        changed = await barrier.create()
        say(json, "closed" if changed else "was closed already", {"closed": True, "changed": changed})
        return 0

    return _on(access, path, act)


@barrier.command
def remove(path: str, /, *, json: Switch = False, access: Where = _ANYWHERE) -> int:
    """Open the gate: everybody that waits goes on.

    Args:
        path: the barrier's znode.
        json: print one JSON object; `changed` is false when it was open already.
    """

    async def act(barrier: Barrier) -> int:
        changed = await barrier.remove()
        say(json, "opened" if changed else "was open already", {"closed": False, "changed": changed})
        return 0

    return _on(access, path, act)


@barrier.command
def wait(path: str, /, *, within: float | None = None, json: Switch = False, access: Where = _ANYWHERE) -> int:
    """Return once the gate is open, at once when it is: recipes barrier wait PATH && ./next-step.sh.

    Exit codes: 69 when it was not open in time.

    Args:
        path: the barrier's znode.
        within: seconds to wait at most.
        json: print one JSON object.
    """
    if within is not None and not 0 <= within < float("inf"):
        complain("recipes barrier", f"--within {within:g}: expected seconds, 0 or more")
        return 2

    async def act(barrier: Barrier) -> int:
        with anyio.move_on_after(within) as limit:
            await barrier.wait()
        closed = limit.cancelled_caught
        say(json, "closed" if closed else "open", {"closed": closed})
        return CLOSED if closed else 0

    return _on(access, path, act)


def _on(access: Access, path: str, act: Callable[[Barrier], Coroutine[Any, Any, int]]) -> int:
    return access.run(lambda client: act(Barrier(client, path)))
