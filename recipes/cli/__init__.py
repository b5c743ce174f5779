"""The `recipes` command: dispatches to the module of each subcommand.

Nothing is imported before it is needed, so that commands start quickly.
"""

import os
import signal
import sys
from collections.abc import Sequence

_COMMANDS = {
    "status": "Print the mode of each server; exit 1 when one of them does not answer with it.",
    "shell": "Run one command on the tree, or read commands from standard input.",
    "lock": "Run a program while holding a lock.",
    "locks": "Print who holds a lock and who waits for it, since when.",
    "revoke": "Ask the holders of a lock to give it up, or take it away from one of them.",
    "elect": "Run a program while this host leads.",
    "leader": "Print the leader; exit 69 when nobody leads.",
    "queue": "Put items in a queue, take them out, look at it.",
    "barrier": "Hold programs up at a gate, and let them all go at once.",
    "counter": "Print a counter, or add to it; a lost connection never adds twice.",
    "tx": "List transactions across databases, decide them, end those of dead coordinators.",
    "lab": "Run consensus and commit protocols in a laboratory, with faults, and check them.",
    "demo": "Show workers that take turns at a lock and elect a leader; two of them are killed.",
    "ensemble": "Start servers on this machine, and run until interrupted.",
    "move": "Make the store of this user on this machine a server's data directory.",
    "convert": "Let a stopped member of an ensemble run the other protocol.",
    "repair": "Tell what is damaged in the data directory of a stopped server.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback if Ctrl-C strikes during an import
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["serve"]:
        from recipes.cli.serve import main as serve

        return serve(arguments[1:])
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _closed_pipe()
    except BaseExceptionGroup as group:
        if group.subgroup(BrokenPipeError) is None:
            raise
        return _closed_pipe()


def _run(arguments: list[str]) -> int:
    try:
        import cyclopts
    except ImportError:
        print("recipes: this command needs the cli extra: pip install 'zab-recipes[cli]' "
              "(in a clone: pip install '.[cli]')", file=sys.stderr)  # fmt: skip
        return 1
    from recipes.cli.terminal import complain, complain_in_json
    from recipes.core.errors import BadArguments, RecipesError

    complain_in_json("--json" in arguments[: arguments.index("--") if "--" in arguments else None])
    about = "Distributed locks and leader election on a ZooKeeper-compatible core."
    app = cyclopts.App(name="recipes", help=about, version=_version)
    for name, said in _COMMANDS.items():
        app.command(f"recipes.cli.{name}:{name}", name=name, help=None if arguments[:1] == [name] else said)
    app.command(_serve, name="serve")
    try:
        code = app(arguments, result_action="return_value")
        sys.stdout.flush()
    except RecipesError as error:
        complain("recipes", error, kind=type(error).__name__)
        return 2 if isinstance(error, BadArguments) else 1
    return code if isinstance(code, int) else 0


def _closed_pipe() -> int:
    """The reader of our output has closed the pipe. Discard the buffered rest, which would fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _version() -> str:
    """The version of the installed distribution, and which build it is."""
    from recipes.core.build import describe_build, installed_version

    return f"{installed_version()} ({describe_build()})"


def _serve() -> None:
    """Run a server in the foreground: recipes serve [zoo.cfg] (see recipes serve --help)."""
