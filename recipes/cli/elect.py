"""`recipes elect`: run a program on the one host of many that leads."""

import os
import random
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Annotated

import anyio
from cyclopts import Parameter

from recipes import Client, Election, SessionError
from recipes.cli.access import Access, Switch
from recipes.cli.program import (
    CANNOT_RUN,
    LOST,
    Held,
    ProgramEnding,
    as_exit_code,
    held_by,
    rest,
    run_program,
    taking_signals,
)
from recipes.cli.terminal import complain, escaped
from recipes.core.client.backoff import pauses

_SHORT_S = 1.0  # after a shorter run the pauses before the next one grow


def elect(
    path: str,
    /,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    restart: Switch = False,
    weight: int = 0,
    min_hold: float | None = None,
    session_timeout: float = 15.0,
    access: Annotated[Access, Parameter(name="*")] = Access(),  # noqa: B008 (it is frozen)
) -> int:
    """Run COMMAND while this host leads: recipes elect PATH -- COMMAND...

    Hosts that run this with one PATH are candidates, and one of them leads. COMMAND is started when leadership is won;
    its fencing token is in RECIPES_FENCE. It is ended, as under `recipes lock`, when leadership is lost, and started
    again when it is won again. Servers may be away for a while, except at the start.

    SIGTERM and the other signals go to the program; when it has ended, the next host leads at once. When the program
    ends by itself, this host gives leadership up, and this command ends with the program's exit code.

    Exit codes: the program's own, or 128 plus the number of the signal that ended it; 126 and 127 when it cannot be
    run or found, 2 for a wrong argument, 1 when no server answers.

    Args:
        path: the election's znode.
        command: the program and its arguments, after --.
        restart: stand for election again when the program ends by itself.
        weight: 0 or more: of the candidates that wait, the heaviest leads next.
        min_hold: seconds that this host leads before a heavier candidate takes over; without it none does.
        session_timeout: seconds after which another host leads when this one was cut off.
    """
    if not command:
        complain("recipes elect", "no command given: recipes elect PATH -- COMMAND...")
        return 2
    hosts, client = access.connect(session_timeout)
    lead = partial(_leading, path=path, weight=weight, min_hold=min_hold)
    return as_exit_code(anyio.run(_run_again_and_again, command, lead, restart, session_timeout, access, hosts, client))


async def _run_again_and_again(
    command: Sequence[str],
    lead: Callable[[Client], AbstractAsyncContextManager[Held]],
    restart: bool,
    session_timeout: float,
    access: Access,
    hosts: str,
    client: Client,
) -> int:
    waits = _pauses()
    was_connected = False
    with taking_signals() as signals:  # over all runs, so that no signal is missed between two of them
        while True:
            began = time.monotonic()
            try:
                ending = await run_program("elect", command, lead(client), signals)
            except SessionError as error:  # the servers are away, or were away for too long
                if not was_connected and client.session_id == 0:
                    raise
                ending = ProgramEnding(LOST, lost=str(error))
            was_connected = True
            if ending.lost:
                complain("recipes elect", ending.lost)
            if ending.signal or ending.code in CANNOT_RUN or not (ending.lost or restart):
                return ending.code
            if time.monotonic() - began > _SHORT_S:
                waits = _pauses()
            interrupted = await rest(signals, next(waits))
            if interrupted is not None:
                return interrupted.code
            client = access.client(hosts, session_timeout)


def _pauses() -> Iterator[float]:
    return pauses(random.Random(), shortest=0.1, longest=10.0)


@asynccontextmanager
async def _leading(client: Client, *, path: str, weight: int, min_hold: float | None) -> AsyncGenerator[Held]:
    about = f"{socket.gethostname()} pid {os.getpid()}".encode()
    election = Election(client, path, about, weight=weight, min_hold=min_hold)
    async with client:
        if sys.stderr.isatty() and (leader := await election.leader()) is not None:
            name = escaped(leader.data.decode("utf-8", "replace"))
            print(f"recipes elect: waiting for {escaped(path)}, led by {name}", file=sys.stderr)
        async with election.lead() as term:
            yield held_by(client, term.fence)
