"""`recipes demo`: locks and elections on a server of its own, with each event printed as it happens."""

import json as json_text
import logging
import sys
from collections.abc import Callable, Iterator
from itertools import count
from time import monotonic

import anyio

from recipes import Client, Election, LeadershipLost, Lock, LockLost, connect
from recipes.embedded import embedded_server
from recipes.testing import expire_session

Tell = Callable[[str, str, int | None], None]

_RED, _GREEN, _BOLD, _NORMAL = "\x1b[31m", "\x1b[32m", "\x1b[1m", "\x1b[0m"


def demo(*, json: bool = False) -> int:
    """Show workers that take turns at a lock and elect a leader; two of them are killed, and the next one takes over.

    Args:
        json: print one JSON object per event.
    """
    begun = monotonic()
    # The demo wants a private server: no warning that it is private.
    logging.getLogger("recipes.embedded").setLevel(logging.ERROR)

    def tell(who: str, what: str, fence: int | None = None) -> None:
        seconds = monotonic() - begun
        if json:
            print(json_text.dumps({"at": round(seconds, 3), "who": who, "what": what, "fence": fence}), flush=True)
            return
        told = f"{what} (fence {fence:#x})" if fence is not None else what
        name = f"{who:<8}"
        if sys.stdout.isatty():
            colour = _RED if "LOST" in what else _GREEN if fence is not None else ""
            name, told = f"{_BOLD}{name}{_NORMAL}", f"{colour}{told}{_NORMAL}"
        print(f"{seconds:6.2f} s  {name} {told}", flush=True)

    with embedded_server() as hosts:
        anyio.run(_play, hosts, tell)
    return 0


async def _play(hosts: str, tell: Tell) -> None:
    with anyio.fail_after(50):
        tell("server", f"accepting clients on {hosts}", None)
        for work in (_work_under_lock, _work_as_leader):
            async with anyio.create_task_group() as tasks:
                turns = count(1)
                for number in range(1, 4):
                    tasks.start_soon(work, hosts, f"worker-{number}", turns, tell)
        tell("demo", "done: `recipes serve` starts a server that others can share", None)


async def _work_under_lock(hosts: str, who: str, turns: Iterator[int], tell: Tell) -> None:
    try:
        async with connect(hosts, session_timeout=2.0) as client:
            tell(who, "asks for the lock", None)
            async with Lock(client, "/demo/lock") as grant:
                tell(who, "lock taken", grant.fence)
                await anyio.sleep(0.7)
                if next(turns) == 2:
                    await _kill_session(hosts, client, who, "taken the lock", grant.fence, tell)
                    await anyio.sleep_forever()
            tell(who, "lock released", None)
    except LockLost as error:
        tell(who, f"LOST: {error}; its block was cancelled", None)


async def _work_as_leader(hosts: str, who: str, turns: Iterator[int], tell: Tell) -> None:
    try:
        async with connect(hosts, session_timeout=2.0) as client:
            tell(who, "stands for election", None)
            async with Election(client, "/demo/election").lead() as term:
                tell(who, "leads", term.fence)
                await anyio.sleep(0.7)
                if next(turns) == 2:
                    await _kill_session(hosts, client, who, "begun to lead", term.fence, tell)
                    await anyio.sleep_forever()
            tell(who, "resigned", None)
    except LeadershipLost as error:
        tell(who, f"LOST: {error}; its block was cancelled", None)


async def _kill_session(hosts: str, client: Client, who: str, done: str, fence: int, tell: Tell) -> None:
    """End the client's session behind its back, as a server does that has not heard from the client for too long."""
    tell(who, "is killed: its session ends at the server, which lets the next one in", None)
    tell("demo", f"until {who} hears of it, the next one may have {done} already: see the times below", None)
    tell("demo", f"that is what fences are for: storage that has seen a higher one refuses {fence:#x}", None)
    await expire_session(client, hosts)
