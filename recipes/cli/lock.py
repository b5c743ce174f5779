"""`recipes lock`: run a program while holding a lock."""

import os
import signal
import sys
from typing import Annotated

import anyio
from cyclopts import Parameter

from recipes import Lock, LockLost, connect
from recipes.cli.hosts import find_hosts

_LOST = 75  # EX_TEMPFAIL of sysexits.h: try again later
_GRACE_S = 5.0


def lock(
    path: str,
    /,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    hosts: str | None = None,
    session_timeout: float = 15.0,
) -> int:
    """Run COMMAND while holding the lock PATH: recipes lock PATH -- COMMAND...

    The program finds its fencing token in RECIPES_FENCE. When the lock is lost the program and its children get
    SIGTERM, 5 seconds later SIGKILL, and the exit code is 75; otherwise it is the program's own.

    Args:
        path: the lock's znode.
        command: the program and its arguments, after --.
        hosts: HOST:PORT,...; else RECIPES_HOSTS, else the store of this user on this machine.
        session_timeout: seconds.
    """
    if not command:
        print("recipes lock: no command given: recipes lock PATH -- COMMAND...", file=sys.stderr)
        return 2
    return anyio.run(_run, find_hosts(hosts), path, command, session_timeout)


async def _run(hosts: str, path: str, command: tuple[str, ...], session_timeout: float) -> int:
    try:
        async with connect(hosts, session_timeout=session_timeout) as client, Lock(client, path) as grant:
            return await _run_child(command, grant.fence)
    except LockLost as error:
        print(f"recipes lock: {error}", file=sys.stderr)
        return _LOST


async def _run_child(command: tuple[str, ...], fence: int) -> int:
    environment = {**os.environ, "RECIPES_FENCE": str(fence)}
    try:
        # A session of its own makes the program and all it starts one group, which can be stopped as a whole.
        process = await anyio.open_process(
            command, stdin=None, stdout=None, stderr=None, env=environment, start_new_session=True
        )
    except OSError as error:
        print(f"recipes lock: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127

    def send(number: int) -> None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return

    async def pass_signals() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                send(number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pass_signals)
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                with anyio.CancelScope(shield=True):
                    send(signal.SIGTERM)
                    with anyio.move_on_after(_GRACE_S):
                        await process.wait()
                    send(signal.SIGKILL)
                    await process.wait()
        tasks.cancel_scope.cancel()
    return code if code >= 0 else 128 - code
