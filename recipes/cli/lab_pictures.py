"""The pictures that `recipes lab run` and `replay` print."""

from collections.abc import Mapping
from typing import Literal

from recipes.core.errors import BadArguments
from recipes.lab.checks.check import Broken
from recipes.lab.timeline import timeline
from recipes.lab.trace import Trace
from recipes.lab.views import MOMENTS, checks_picture, figures_picture

View = Literal["timeline", "ring", "state", "logs", "disks", "checks", "figures"]


def refuse_without_svg(view: View, at: str | None, svg: bool) -> None:
    """Raise BadArguments for what says something about a picture that is not wanted."""
    if (view != "timeline" or at is not None) and not svg:
        raise BadArguments("", "--view and --at say which picture --svg prints")


def picture(
    trace: Trace,
    found: Mapping[str, Broken | None],
    title: str,
    view: View,
    at: str | None,
    true_time: bool,
    lang: str,
) -> str:
    """A view in SVG. Raises BadArguments if it has no moment, or there is no such event."""
    if view in MOMENTS:
        last = len(trace.events) - 1
        if at is not None and not (at.isascii() and at.isdecimal() and int(at) <= last):
            raise BadArguments("", f"--at {at}: expected the number of an event, from 0 to {last}")
        return MOMENTS[view](trace, last if at is None else int(at), title)
    if at is not None:
        raise BadArguments("", f"--at {at}: {view} is of the whole run; of a moment are {', '.join(MOMENTS)}")
    if view == "checks":
        return checks_picture(trace, found, title, lang)
    return figures_picture(trace, title) if view == "figures" else timeline(trace, title, true_time=true_time)
