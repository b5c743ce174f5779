"""`recipes counter`: print a counter, or add to it."""

import json as json_text
from typing import Annotated

from cyclopts import Parameter

from recipes import Added, Client, Counter
from recipes.cli.access import Access, Switch


def counter(
    path: str,
    /,
    *,
    add: Annotated[int | None, Parameter(allow_leading_hyphen=True)] = None,
    json: Switch = False,
    access: Annotated[Access, Parameter(name="*")] = Access(),  # noqa: B008 (it is frozen)
) -> int:
    """Print the number of the counter PATH; with --add, the number after the addition.

    A lost connection never adds twice. Exit codes: 1 when no server answers, when it refuses, or when PATH does not
    hold a number; the message says so if the number may have been added. 2 for a wrong argument.

    Args:
        path: the counter's znode. --add makes it when it is missing; until then it is 0.
        add: what to add; it may be negative.
        json: print {"value": N}; with --add {"before": N, "after": N}.
    """
    found = access.run(lambda client: _run(client, path, add))
    if isinstance(found, int):
        print(json_text.dumps({"value": found}) if json else found)
    else:
        print(json_text.dumps(found._asdict()) if json else found.after)
    return 0


async def _run(client: Client, path: str, n: int | None) -> int | Added:
    shared = Counter(client, path)
    if n is not None:
        return await shared.add(n)
    await client.sync()
    return await shared.get()
