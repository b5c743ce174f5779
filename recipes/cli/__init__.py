"""The `recipes` command: which part of it runs.

`serve` is told apart before anything else is imported: the time to start a server counts.
"""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["serve"]:
        from recipes.cli.serve import main as serve

        return serve(arguments[1:])
    try:
        import cyclopts
        import rich  # noqa: F401
    except ImportError:
        print("recipes: this command needs the cli extra: pip install 'zab-recipes[cli]' "
              "(in a clone: pip install '.[cli]')", file=sys.stderr)  # fmt: skip
        return 1
    from recipes.cli.demo import demo
    from recipes.cli.ensemble import ensemble
    from recipes.cli.lock import lock
    from recipes.cli.move import move_store
    from recipes.cli.repair import repair
    from recipes.cli.shell import shell
    from recipes.cli.status import status
    from recipes.core.errors import RecipesError

    about = "Distributed locks and leader election on a ZooKeeper-compatible core."
    app = cyclopts.App(name="recipes", help=about, version=_version)
    app.command(status)
    app.command(shell)
    app.command(lock)
    app.command(demo)
    app.command(ensemble)
    app.command(repair)
    app.command(move_store, name="move")
    app.command(_serve, name="serve")
    try:
        code = app(arguments, result_action="return_value")
    except RecipesError as error:
        print(f"recipes: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code if isinstance(code, int) else 0


def _version() -> str:
    """The version of the distribution that is installed."""
    from importlib.metadata import PackageNotFoundError, version  # only here: it takes time to import

    try:
        return version("zab-recipes")
    except PackageNotFoundError:
        return "unknown: zab-recipes is not installed"


def _serve() -> None:
    """Run a server in the foreground: recipes serve [zoo.cfg] (see recipes serve --help)."""
