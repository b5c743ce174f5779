"""`recipes locks`: print the holders and waiters of locks, semaphores and elections."""

import json as json_text
import time
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from recipes import Client, NoAuth, Participant
from recipes.cli.access import Access, Switch
from recipes.cli.terminal import complain, escaped
from recipes.lock.survey import Seen, read_lines, walk_lines

_WORDS = {"lock": "lock", "lead": "lead", "read": "read", "write": "write", "permits": "permit"}


def locks(
    path: str,
    /,
    *,
    tree: Switch = False,
    json: Switch = False,
    access: Annotated[Access, Parameter(name="*")] = Access(),  # noqa: B008 (it is frozen)
) -> int:
    """Print the holders of the lock PATH and those that wait for it, since when: recipes locks PATH.

    It knows locks, read/write locks, semaphores and elections of recipes, kazoo and Curator, and changes nothing. Each
    holder is shown with what it asked for, the age of its znode by this machine's clock, its fence, its session and
    the data that it wrote into its znode; `recipes lock` writes host and process.

    Exit codes: 0, also when nobody holds or waits; 1 when PATH is missing, or a znode may not be read.

    Args:
        path: the lock's znode.
        tree: also look at all znodes below PATH.
        json: print an array of objects, one for each line, with holders and waiters.
    """
    found, refused = access.run(lambda client: _read(client, path, tree=tree))
    for error in refused:
        complain("recipes locks", error, kind=type(error).__name__, path=error.path)
    now = time.time()
    if json:
        print(json_text.dumps([_facts(seen, now) for seen in found]), flush=True)
    else:
        print("\n".join(_said(seen, now) for seen in found) or "nobody holds, nobody waits", flush=True)
    return 1 if refused else 0


async def _read(client: Client, path: str, *, tree: bool) -> tuple[list[Seen], list[NoAuth]]:
    await client.sync()
    if not tree:
        return await read_lines(client, path), []
    found: list[Seen] = []
    refused: list[NoAuth] = []
    async for seen in walk_lines(client, path):
        if isinstance(seen, NoAuth):
            refused.append(seen)
        else:
            found.append(seen)
    return found, refused


def _said(seen: Seen, now: float) -> str:
    what = [] if seen.naming == "native" else [f"names of {seen.naming}"]
    if seen.limit is not None:
        what.append(f"limit {seen.limit}")
    lines = [escaped(seen.path) + (f" ({', '.join(what)})" if what else "")]
    taken = 0
    for each in seen.holders:
        taken += each.permits
        beyond = seen.limit is not None and taken > seen.limit
        lines.append(_line("holds", each, now) + (", beyond the limit, which was lowered since" if beyond else ""))
    lines += [_line("waits", each, now) for each in seen.waiters]
    return "\n".join(lines)


def _line(what: str, who: Participant, now: float) -> str:
    asks = _WORDS[who.kind] if who.permits == 1 else f"{who.permits} permits"
    data = escaped(who.data.decode("utf-8", "backslashreplace"))
    asked = ", asked to give it up" if who.revoke_requested else ""
    session = f"session 0x{who.session_id & (1 << 64) - 1:x}"
    age = f"for {max(0.0, now - who.since):.1f} s"
    return f"  {what} {asks:8} {age:14} fence 0x{who.fence:x}  {session}  {data or '-'}{asked}"


def _facts(seen: Seen, now: float) -> dict[str, Any]:
    def of(who: Participant) -> dict[str, Any]:
        return {
            "kind": who.kind,
            "permits": who.permits,
            "weight": who.weight,
            "data": who.data.decode("utf-8", "backslashreplace"),
            "since": datetime.fromtimestamp(who.since, UTC).isoformat(timespec="milliseconds"),
            "age": round(max(0.0, now - who.since), 3),
            "session": f"0x{who.session_id & (1 << 64) - 1:x}",
            "fence": who.fence,
            "path": who.path,
            "revoke_requested": who.revoke_requested,
        }

    facts = {"path": seen.path, "naming": seen.naming, "limit": seen.limit}
    return facts | {"holders": [of(each) for each in seen.holders], "waiters": [of(each) for each in seen.waiters]}
