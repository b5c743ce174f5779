"""`recipes shell`: read and change a tree, with the commands and formats of zkCli.sh."""

import shlex
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import partial
from typing import Annotated

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from cyclopts import Parameter

from recipes import Client
from recipes.cli.access import Access
from recipes.cli.terminal import complain
from recipes.cli.tree_commands import COMMANDS, QUITS, execute, help_text


def shell(
    *words: Annotated[str, Parameter(allow_leading_hyphen=True)],
    read_only: bool = False,
    json: bool = False,
    access: Annotated[Access, Parameter(name="*")] = Access(),  # noqa: B008 (it is frozen)
) -> int:
    """Run one command, or read commands from standard input: recipes shell [HOST:PORT] [COMMAND...].

    Ctrl-C ends a command, such as watch, or drops the line that is being typed; the end of input, `quit` and `exit`
    leave the shell.

    Args:
        words: HOST:PORT, unless --hosts gives it, and a command; `help` lists the commands.
        read_only: also use a server without a leader, which answers reads only.
        json: print each answer as one JSON value, and each error as one on standard error.
    """
    if words and access.hosts is None and words[0] not in (*COMMANDS, *QUITS, "help"):
        if ":" not in words[0]:
            complain("recipes shell", f"{words[0]}: neither HOST:PORT nor a command; try help")
            return 2
        access, words = replace(access, hosts=words[0]), words[1:]
    if words[:1] == ("help",):
        print(help_text())
        return 0
    hosts, client = access.connect(read_only=read_only)
    if words:
        return anyio.run(_run_one, client, words, json)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
        _converse(portal, client, hosts, json)
    return 0


async def _run_one(client: Client, words: Sequence[str], json: bool) -> int:
    async with client:
        return await execute(client, words, json=json, alone=True)


def _converse(portal: BlockingPortal, client: Client, hosts: str, json: bool) -> None:
    """Read and run commands until the end of input.

    The client runs in a thread of its own. So Ctrl-C, in the main thread, interrupts a command or the typing of one,
    and the session lives on while nobody types.
    """
    at_prompt = sys.stdin.isatty()
    if at_prompt:
        _edit_lines()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    while True:
        try:
            words = shlex.split(input(f"[{hosts}] " if at_prompt else ""))
            if words and words[0] in QUITS:
                return
            if words:
                _await(portal, client, words, json)
        except EOFError:
            if at_prompt:
                print()
            return
        except ValueError as error:
            complain("recipes shell", error)
        except KeyboardInterrupt:
            if not at_prompt:
                raise
            print()


def _await(portal: BlockingPortal, client: Client, words: Sequence[str], json: bool) -> None:
    running = portal.start_task_soon(partial(execute, client, words, json=json, alone=False))
    try:
        running.result()
    except KeyboardInterrupt:
        running.cancel()
        raise
    except CancelledError:
        pass


def _edit_lines() -> None:
    """Give `input` line editing, a history, and completion of command names."""
    try:
        import readline
    except ImportError:  # Python can be built without readline
        return
    names = sorted((*COMMANDS, *QUITS, "help"))

    def complete(text: str, number: int) -> str | None:
        fitting = [name for name in names if name.startswith(text) and readline.get_begidx() == 0]
        return fitting[number] if number < len(fitting) else None

    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
