"""`recipes leader`: print the leader of an election, or that there is none."""

import json as json_text
import time
from datetime import UTC, datetime
from typing import Annotated, Literal

import anyio
from cyclopts import Parameter

from recipes import BadArguments, Client, Election, Participant
from recipes.cli.access import Access, Switch
from recipes.cli.terminal import escaped
from recipes.contender import check_within

NOBODY = 69  # EX_UNAVAILABLE of sysexits.h


def leader(
    path: str,
    /,
    *,
    within: float = 0.0,
    naming: Literal["native", "kazoo", "curator", "curator-latch"] = "native",
    json: Switch = False,
    access: Annotated[Access, Parameter(name="*")] = Access(),  # noqa: B008 (it is frozen)
) -> int:
    """Print the leader of the election PATH, its fence, how long it has been in line, and how many wait.

    For alarms: `recipes leader PATH --within 60 || page-somebody`. With --within a change of leaders is no alarm.

    Exit codes: 0; 69 when nobody leads, or with --within when nobody has led in that time; 2 for a wrong argument.

    Args:
        path: the election's znode.
        within: seconds to wait for somebody to lead.
        naming: the library by whose names the candidates stand in line.
        json: print one object; `leader` is null when nobody leads.
    """
    if not within < 1e6:
        raise BadArguments(path, f"within={within!r}: expected seconds, below 1000000")
    check_within(path, within)
    began = time.monotonic()
    line = access.run(lambda client: _look(Election(client, path, naming=naming), client, within))
    now = time.time()
    if json:
        facts = {"path": path, "leader": _facts(line[0], now) if line else None, "candidates": len(line)}
        print(json_text.dumps(facts), flush=True)
    elif line:
        first = line[0]
        data = escaped(first.data.decode("utf-8", "backslashreplace")) or "-"
        age = f"in line for {max(0.0, now - first.since):.1f} s"
        print(f"{data} leads, fence 0x{first.fence:x}, {age}; {len(line) - 1} wait", flush=True)
    else:
        waited = f", after {time.monotonic() - began:.1f} s" if within else ""
        print(escaped(f"nobody leads at {path}, and nobody is in line{waited}"), flush=True)
    return 0 if line else NOBODY


async def _look(election: Election, client: Client, within: float) -> list[Participant]:
    """The candidates in line, as soon as there is one."""
    await client.sync()
    with anyio.move_on_after(within or None):
        async for found in election.observe():
            if found is not None or not within:
                break
    return await election.candidates()


def _facts(who: Participant, now: float) -> dict[str, object]:
    return {
        "id": who.id,
        "data": who.data.decode("utf-8", "backslashreplace"),
        "fence": who.fence,
        "since": datetime.fromtimestamp(who.since, UTC).isoformat(timespec="milliseconds"),
        "age": round(max(0.0, now - who.since), 3),
        "session": f"0x{who.session_id & (1 << 64) - 1:x}",
        "path": who.path,
    }
