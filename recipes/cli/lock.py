"""`recipes lock`: run a program while holding a lock."""

import os
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

import anyio
from cyclopts import Parameter

from recipes import Client, Lock, RecipesError
from recipes.cli.access import Access, Switch
from recipes.cli.program import Held, as_exit_code, held_by, run_program
from recipes.cli.terminal import complain, escaped

TAKEN = 69  # EX_UNAVAILABLE of sysexits.h


def lock(
    path: str,
    /,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    try_: Annotated[Switch, Parameter(name="--try")] = False,
    wait: Annotated[float | None, Parameter(name=["--wait", "--timeout"])] = None,
    session_timeout: float = 15.0,
    access: Annotated[Access, Parameter(name="*")] = Access(),  # noqa: B008 (it is frozen)
) -> int:
    """Run COMMAND while holding the lock PATH: recipes lock PATH -- COMMAND...

    The program finds its fencing token in RECIPES_FENCE. The program and all that it starts are one process group. The
    lock is given up once the whole group has ended: when the program ends, the rest of its group gets SIGTERM, then
    SIGKILL. The whole group gets them when the lock is lost, when `recipes lock` is killed, and when no server has
    confirmed the session for too long. SIGKILL comes 5 seconds after SIGTERM at most; when no server answers, it comes
    before anybody else can have the lock. Signals to `recipes lock` go to the program; while `recipes lock` waits, a
    signal ends it, and its place in line is given up.

    Exit codes: the program's own, or 128 plus the number of the signal that ended it; 69 when somebody else has the
    lock (--try, --wait), 75 when it was lost, 126 and 127 when the program cannot be run or found, 2 for a wrong
    argument, 1 when no server answers.

    Args:
        path: the lock's znode.
        command: the program and its arguments, after --.
        try_: do not wait: give up when somebody has the lock.
        wait: seconds after which to give up waiting for the lock.
        session_timeout: seconds after which the lock of a machine that was cut off is free again.
    """
    if not command:
        complain("recipes lock", "no command given: recipes lock PATH -- COMMAND...")
        return 2
    if wait is not None and not 0 <= wait < float("inf"):
        complain("recipes lock", f"--wait {wait:g}: expected seconds, 0 or more")
        return 2
    _, client = access.connect(session_timeout)
    try:
        ending = anyio.run(run_program, "lock", command, _holding(client, path, 0.0 if try_ else wait))
    except _Taken as taken:
        complain("recipes lock", taken)
        return TAKEN
    if ending.lost:
        complain("recipes lock", ending.lost)
    return as_exit_code(ending.code)


class _Taken(RecipesError):
    pass


@asynccontextmanager
async def _holding(client: Client, path: str, wait: float | None) -> AsyncGenerator[Held]:
    """Hold the lock. Raises _Taken if it cannot be had within `wait` seconds."""
    lock = Lock(client, path, f"{socket.gethostname()} pid {os.getpid()}".encode())
    async with client:
        async with lock.try_acquire() as grant:
            if grant is not None:
                yield held_by(client, grant.fence)
                return
        holder = await _holder(lock)
        if wait != 0 and sys.stderr.isatty():
            print(f"recipes lock: waiting for {escaped(path)}{holder}", file=sys.stderr)
        with anyio.CancelScope() as limit:
            limit.deadline = anyio.current_time() + (float("inf") if wait is None else wait)
            async with lock as grant:
                limit.deadline = float("inf")  # the limit is for the waiting alone
                yield held_by(client, grant.fence)
        if limit.cancelled_caught:
            raise _Taken(f"{path} is taken{await _holder(lock)}")


async def _holder(lock: Lock) -> str:
    """The holder of the lock, as part of a sentence; empty when nobody has it any more."""
    for holder in await lock.holders():
        name = escaped(holder.data.decode("utf-8", "replace")) or f"session 0x{holder.session_id & (1 << 64) - 1:x}"
        since = datetime.fromtimestamp(holder.since).astimezone()
        return f", held by {name}, in line since {since:%Y-%m-%d %H:%M:%S}"
    return ""
