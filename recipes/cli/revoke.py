"""`recipes revoke`: ask the holders of a lock to give it up, or take it away from them."""

import json as json_text
import sys
from typing import Annotated

from cyclopts import Parameter

from recipes import Client, NoNode, Participant
from recipes.cli.access import Access, Switch
from recipes.cli.terminal import complain, escaped
from recipes.lock.lockable import ask_holder
from recipes.lock.survey import read_lines

NOBODY = 69  # EX_UNAVAILABLE of sysexits.h


def revoke(
    path: str,
    /,
    *,
    fence: Annotated[str | None, Parameter(name=["--fence"])] = None,
    force: Switch = False,
    yes: Switch = False,
    json: Switch = False,
    access: Annotated[Access, Parameter(name="*")] = Access(),  # noqa: B008 (it is frozen)
) -> int:
    """Ask everybody who holds the lock PATH to give it up: recipes revoke PATH. `recipes locks PATH` shows who does.

    `grant.revoke_requested` is set in the programs that hold it; they keep it until they give it up. With --force the
    znode of one holder is deleted: its block is cancelled, and the next in line holds, maybe before the former holder
    knows that it has lost. Only a fence keeps out what the former holder still writes. So --force names the holder
    and asks for a yes on the terminal.

    Exit codes: 0; 1 when the answer was no, or PATH is missing; 2 for a wrong argument, or when several hold the lock
    and --force has no --fence; 69 when nobody holds it.

    Args:
        path: the znode of a lock, a read/write lock, a semaphore or an election, of recipes, kazoo or Curator.
        fence: only the holder with this fence, as `recipes locks` shows it.
        force: take the lock away from its holder.
        yes: with --force: do not ask on the terminal.
        json: print an array of objects, one for each holder that was asked, or whose znode was deleted.
    """
    try:
        number = None if fence is None else int(fence, 0)
    except ValueError:
        complain("recipes revoke", f"--fence {fence}: expected a number, such as 0x1f4")
        return 2
    holders = [each for each in access.run(lambda client: _holders(client, path)) if number in (None, each.fence)]
    if not holders:
        whom = "" if fence is None else f" with the fence {fence}"
        complain("recipes revoke", f"nobody holds {path}{whom}")
        return NOBODY
    if not force:
        if any(each.kind == "lead" for each in holders):
            complain("recipes revoke", f"{path} is an election: a leader cannot be asked; --force ends its term")
            return 2
        return _say(path, access.run(lambda client: _ask(client, holders)), "asked to give it up", json)
    if len(holders) > 1:
        fences = ", ".join(hex(each.fence) for each in holders)
        complain("recipes revoke", f"--force: {len(holders)} hold {path}: expected --fence and one of {fences}")
        return 2
    if not yes and not sys.stdin.isatty():
        complain("recipes revoke", "--force: expected --yes, or a terminal to ask on")
        return 2
    if not yes:
        print(
            f"Take {escaped(path)} away from {_who(holders[0])}, which may still be working? [y/N] ", end="", flush=True
        )
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 1
    return _say(path, access.run(lambda client: _end(client, holders)), "taken away", json)


async def _holders(client: Client, path: str) -> list[Participant]:
    await client.sync()
    return [holder for seen in await read_lines(client, path) for holder in seen.holders]


async def _ask(client: Client, holders: list[Participant]) -> list[Participant]:
    return [holder for each in holders if (holder := await ask_holder(client, each)) is not None]


async def _end(client: Client, holders: list[Participant]) -> list[Participant]:
    """Delete the holders' znodes. Their names are never used again, so only the holders that were shown are
    affected."""
    ended = []
    for each in holders:
        try:
            await client.delete(each.path)
        except NoNode:
            continue
        ended.append(each)
    return ended


def _say(path: str, done: list[Participant], what: str, json: bool) -> int:
    if json:
        print(json_text.dumps([{"fence": each.fence, "path": each.path, "done": what} for each in done]), flush=True)
    else:
        print(
            "\n".join(f"{_who(each)}: {what}" for each in done) or f"nobody holds {escaped(path)} any more", flush=True
        )
    return 0


def _who(who: Participant) -> str:
    data = escaped(who.data.decode("utf-8", "backslashreplace"))
    return data or f"session 0x{who.session_id & (1 << 64) - 1:x}"
