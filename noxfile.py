"""One name for each thing that is done often: `nox -l` lists them, `nox -s lint` runs one.

They run in virtual environments of their own, one for each interpreter that is installed. What stands behind `--` goes
to the command: `nox -s tests -- tests/lock -x`.
"""

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests-3.11"]


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """README's second command; `-- --everything` for all of it."""
    session.install("-e", ".[dev]")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and types."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """Every block of code in README and docs runs, every link leads somewhere, every table is what the code says."""
    session.install("-e", ".[dev]")
    session.run("pytest", "--everything", "tests/test_docs.py", "tests/test_blocks.py", "tests/test_readme.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Against Apache ZooKeeper, as benchmarks/README.md says: `nox -s bench -- --only locks`."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "benchmarks", *session.posargs)
