"""The last line of a trace: what the checks say, the figures, and the sha256 of all lines before it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from recipes.lab.checks.check import Broken
from recipes.lab.figures import figures
from recipes.lab.trace import Trace, digest


def closed(trace: Trace, found: Mapping[str, Broken | None], wrong: Iterable[str] = (), *, ended: bool = True) -> Trace:
    """The trace with its last line. found: what each check says. wrong: what is not as expected. ended: the run came to
    its end."""
    end = {
        "k": "end",
        "ended": ended,
        "verdict": {each: broken and broken.why for each, broken in found.items()},
        "wrong": list(wrong),
        "figures": figures(trace),
        "sha256": digest(trace),
    }
    return replace(trace, end=end)
