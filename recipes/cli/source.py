"""Which commit this program is from: a trace names it, so that its reader can run the same code."""

import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from subprocess import CalledProcessError, TimeoutExpired, run

_LIMIT_S = 5.0  # seconds


def _describe(directory: Path) -> str:
    """What git says of a checkout. Raises OSError or SubprocessError if it says nothing."""
    asked = ["git", "-C", str(directory), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return run(asked, capture_output=True, text=True, timeout=_LIMIT_S, check=True).stdout.strip()


def source_commit(
    installed: Callable[[], str | None] | None = None,
    root: Path = Path(__file__).parent.parent.parent,
    describe: Callable[[Path], str] = _describe,
) -> str | None:
    """The commit: of the checkout in which the program runs, with -dirty if that was changed, or of its installation.

    None: a release has none. installed: the text of direct_url.json. root: where the package is. describe: asks git.
    """
    if (root / ".git").exists():
        try:
            return describe(root) or None
        except (OSError, CalledProcessError, TimeoutExpired):
            return None
    text = (installed or _direct_url)()
    try:
        commit = json.loads(text or "{}").get("vcs_info", {}).get("commit_id")
    except (ValueError, AttributeError):
        return None
    return commit if isinstance(commit, str) else None


def _direct_url() -> str | None:
    """Where pip has the program from, as PEP 610 says; None for a release from an index."""
    try:
        return distribution("zab-recipes").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
