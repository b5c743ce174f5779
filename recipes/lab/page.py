"""A trace as one page of HTML: file, style and program in one, so that it opens from a disk and goes by mail.

What the page shows is made here: pictures, sentences, jump targets. It goes into the page as JSON in which no character
can end its element, and the program puts it in as text and attributes, never as markup. The page's policy lets the
browser load nothing and run nothing but this program.
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from recipes.core.errors import BadArguments
from recipes.lab.checks.check import Broken
from recipes.lab.checks.registry import CHECKS, checked
from recipes.lab.checks_timeline import ROW, WIDTH, checks_timeline
from recipes.lab.expectations import first
from recipes.lab.explain import explain
from recipes.lab.figures import HEARTBEATS, figures
from recipes.lab.jump_targets import jump_targets
from recipes.lab.questions import questions
from recipes.lab.ring import SIZE, ring
from recipes.lab.scenario import LANGUAGES, Scenario, load, names
from recipes.lab.svg import escape
from recipes.lab.timeline import Picture, look_of
from recipes.lab.trace import Trace, digest
from recipes.lab.transcript import said

# The parts of the program, in static/page: they share one scope, and nothing runs before the last of them.
PROGRAM = (
    "elements", "run", "search", "moment", "timeline", "ring", "state", "logs", "questions", "text", "controls",
    "compared", "live", "partition", "begin",
)  # fmt: skip
_ONLY_COMPARED = ("compared",)  # in pages of comparisons
_ONLY_LIVE = ("live", "partition")  # in pages of runs: those of files have them too, and find that nobody serves them
MOST_TIMED = 5_000  # events; of a longer run the page has no picture in true time: it would be twice as large
_MOST_EXACT = 2**53  # what a browser can count exactly
_UNSAFE = str.maketrans({each: f"\\u{ord(each):04x}" for each in "<>&"})  # what could end the element, or look so


def content(trace: Trace, scenario: Scenario | None = None) -> dict[str, Any]:
    """All that a page shows of a trace.

    scenario: for its title and story; if None, the one of this package that the trace names, if there is one.
    Raises BadArguments if the trace's protocol is unknown, or its events lack what pictures and figures need.
    """
    if scenario is None and trace.header["scenario"] in names():
        scenario = load(trace.header["scenario"])
    found, unchecked = checked(trace)
    try:
        shown = _shown(trace, found)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise BadArguments("", f"the trace cannot be drawn: an event lacks or has wrongly {error}") from None
    plain = dict.fromkeys(LANGUAGES, trace.header["scenario"])
    return {
        "title": dict(scenario.title) if scenario else plain,
        "story": dict(scenario.story) if scenario else dict.fromkeys(LANGUAGES, ""),
        "told": [first(trace, each) for each in scenario.told] if scenario else [],
        "header": trace.header,
        "checks": [_check(name, broken, unchecked.get(name, "")) for name, broken in found.items()],
        "ended": None if trace.end is None else bool(trace.end.get("ended")),
        "wrong": list(trace.end.get("wrong", [])) if trace.end else [],
        "sha256": digest(trace),
        "events": trace.events,
        "end": dict(trace.end) if trace.end is not None and _is_kept(trace) else None,
        **shown,
    }


def _is_kept(trace: Trace) -> bool:
    """Whether a browser that saves the trace writes what was read: only then its sha256 is right."""
    return all(map(_is_same, (trace.header, *trace.events)))


def _is_same(value: Any) -> bool:
    """Whether this is the same after JSON.parse and JSON.stringify: 1.0 becomes 1, and keys like "7" come first."""
    if isinstance(value, Mapping):
        numbered = len(value) > 1 and any(key.isdecimal() for key in value)
        return not numbered and all(map(_is_same, value.values()))
    if isinstance(value, list):
        return all(map(_is_same, value))
    if isinstance(value, float):
        return not value.is_integer()
    return not isinstance(value, int) or abs(value) < _MOST_EXACT


def document(shown: Mapping[str, Any], *, live: Mapping[str, Any] | None = None) -> str:
    """The page.

    shown: what `content` returns. live: what a page of `recipes lab serve` needs besides; it may ask its server.
    """
    text = program(compared="compare" in shown)
    policy = [
        "default-src 'none'",
        f"script-src '{_hash(text)}'",
        f"style-src '{_hash(_static('page.css'))}'",
        "base-uri 'none'",
        "form-action 'none'" if live is None else "form-action 'self'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    if live is not None:
        policy.append("connect-src 'self'")
    parts = {
        "policy": "; ".join(policy),
        "title": escape(shown["title"]["en"]),
        "style": _static("page.css"),
        "program": text,
        "data": json.dumps({**shown, "live": live}, separators=(",", ":")).translate(_UNSAFE),
    }
    return re.sub(r"@(\w+)@", lambda match: parts[match[1]], _static("page.html"))


@cache
def program(*, compared: bool) -> str:
    """The program of a page, one ES module. compared: of a page of a comparison."""
    without = _ONLY_LIVE if compared else _ONLY_COMPARED
    return "\n".join(_static(f"page/{part}.js") for part in PROGRAM if part not in without)


def _shown(trace: Trace, found: Mapping[str, Broken | None]) -> dict[str, Any]:
    picture = Picture(trace, heartbeats=True)
    return {
        "said": [said(trace, event) for event in trace.events],
        "jump_targets": jump_targets(trace, [broken.event for broken in found.values() if broken]),
        "why": {number: list(texts) for number, texts in explain(trace).items()},
        "figures": figures(trace),
        "questions": [each.plain() for each in questions(trace, found)],
        "roles": [[role, *look_of(role), role in HEARTBEATS] for role in picture.roles()],
        "picture": _plain(picture),
        "timed": _plain(Picture(trace, heartbeats=True, true_time=True)) if len(trace.events) <= MOST_TIMED else None,
        "ring": {"size": SIZE, "sites": ring(trace.sites)},
        "checks_timeline": {
            "width": WIDTH,
            "row": ROW,
            "elements": [element.plain() for element in checks_timeline(found, len(trace.events))],
        },
    }


def _plain(picture: Picture) -> dict[str, Any]:
    return {
        "width": picture.width,
        "height": picture.height,
        "lanes": picture.lanes,
        "x": picture.x,
        "pieces": [[*piece[:5], piece.element.plain()] for piece in picture.pieces],
    }


def _check(name: str, broken: Broken | None, unchecked: str) -> dict[str, Any]:
    check = CHECKS[name]
    return {
        "name": name,
        "says": {"en": check.says, "zh": check.says_zh},
        "event": broken and broken.event,
        "why": broken and {"en": broken.why, "zh": broken.why_zh},
        "evidence": list(broken.evidence) if broken else [],
        "unchecked": unchecked,
    }


@cache
def _static(name: str) -> str:
    return (files("recipes.lab") / "static" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
