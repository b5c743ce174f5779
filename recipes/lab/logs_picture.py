"""The logs of all sites as a picture, as the disks have them at the end of a trace: a row per site, a column per place.

A box is an entry, with its epoch, term or ballot and what it does. A thick frame is chosen or committed, and a line
below is applied, as the site says. A dashed box is a hole: a later slot is there. Colours only repeat what is written.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from recipes.core.zxid import counter_of, epoch_of
from recipes.lab.checks.check import Disks
from recipes.lab.checks.histories import zxid_of
from recipes.lab.expectations import follow_state
from recipes.lab.svg import Element
from recipes.lab.timeline import TINTS
from recipes.lab.trace import Trace
from recipes.lab.transcript import brief

MOST_PLACES = 60  # the last ones are drawn
_WIDTH, _HEIGHT, _GAP, _LEFT, _TOP, _ROW = 96, 34, 6, 74, 70, 56
_INK, _PALE = "#1b1b1b", "#8a8a8a"
_KEY = re.compile(r"(.+):(0x[0-9a-f]{1,16}|\d{1,9})")
_MOST_WORDS = 15


class _Entry(NamedTuple):
    """place: its column. at: its zxid or slot. group: its epoch, term or ballot. number: that, and what tells it apart.

    words: what it does.
    """

    place: int
    at: int
    group: str
    number: str
    words: str


def logs(trace: Trace, title: str) -> str:
    """The picture, in SVG."""
    disks, shown = Disks(), dict[str, dict[str, Any]]()
    for event in trace.events:
        disks.follow(event)
        follow_state(shown, event)
    rows = {site: _entries(disks.of(site)) for site in trace.sites}
    rows = {site: entries for site, entries in rows.items() if entries}
    last = max((entries[-1].place for entries in rows.values()), default=0)
    first = max(1, last - MOST_PLACES + 1)
    width, height = _LEFT + _WIDTH * max(last - first + 1, 3) + 10, _TOP + _ROW * max(len(rows), 1) + 10
    root = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}", role="img",
                   font_family="system-ui, sans-serif", font_size=11)  # fmt: skip
    root.add("title", title)
    root.add("rect", width=width, height=height, fill="#ffffff")
    root.add("text", title, x=10, y=20, font_size=14, fill=_INK)
    said = "thick: chosen or committed; line below: applied; dashed: a hole" if rows else "no site keeps a log"
    root.add("text", said, x=10, y=38, fill=_PALE)
    for place in range(first, last + 1):
        root.add("text", str(place), x=_LEFT + _WIDTH * (place - first), y=_TOP - 8, fill=_PALE)
    tints: dict[str, str] = {}
    for number, (site, entries) in enumerate(rows.items()):
        y = _TOP + _ROW * number
        root.add("text", site, x=10, y=y + 20, fill=_INK)
        _draw_row(root, entries, (first, y), disks.of(site), shown.get(site, {}), tints)
    return f"{root.text()}\n"


def _draw_row(
    root: Element, entries: Sequence[_Entry], corner: tuple[int, int], disk: Mapping[str, Any],
    state: Mapping[str, Any], tints: dict[str, str],
) -> None:  # fmt: skip
    first, y = corner
    taken = {entry.place: entry for entry in entries}
    for place in range(first, entries[-1].place + 1):
        x, entry = _LEFT + _WIDTH * (place - first), taken.get(place)
        if entry is None:
            _box(root, x, y, "none", stroke=_PALE, stroke_dasharray="4 3")
            continue
        fixed = f"chosen:{entry.at}" in disk or _reaches(state.get("committed"), entry.at)
        colour = tints.setdefault(entry.group, TINTS[len(tints) % len(TINTS)]) if entry.group else "#ffffff"
        _box(root, x, y, colour, stroke=_INK, stroke_width=3 if fixed else 1)
        root.add("text", entry.number, x=x + 5, y=y + 14, fill=_INK)
        root.add("text", entry.words, x=x + 5, y=y + 28, fill=_INK)
        if _reaches(state.get("applied"), entry.at):
            below = y + _HEIGHT + 5
            root.add("line", x1=x, x2=x + _WIDTH - _GAP, y1=below, y2=below, stroke=_INK, stroke_width=2)


def _box(root: Element, x: int, y: int, fill: str, **line: Any) -> None:
    root.add("rect", x=x, y=y, width=_WIDTH - _GAP, height=_HEIGHT, fill=fill, **line)


def _reaches(edge: Any, at: int) -> bool:
    """Whether a site says that it has come so far."""
    return (edge if isinstance(edge, int) else zxid_of(edge)) >= at


def _entries(disk: Mapping[str, Any]) -> list[_Entry]:
    """The log on a disk. What is only marked as chosen has no ballot any more."""
    families: dict[str, dict[int, tuple[str, Any]]] = {}
    for key, value in disk.items():
        found = _KEY.fullmatch(key)
        if found and found[1] in ("log", "accepted", "chosen"):
            families.setdefault(found[1], {})[int(found[2], 0)] = found[2], value
    kept = families.get("chosen", {}) | families.get("accepted", {}) | families.get("log", {})
    entries = []
    for place, (at, (text, value)) in enumerate(sorted(kept.items()), 1):
        if text.startswith("0x"):
            entries.append(_Entry(place, at, str(epoch_of(at)), f"{epoch_of(at)}.{counter_of(at)}", _short(value)))
        else:
            has_number = isinstance(value, list) and len(value) > 1 and isinstance(value[0], list)
            ballot = brief(value[0]) if has_number else ""
            entries.append(_Entry(at, at, ballot, ballot, _short(value[-1] if has_number else value)))
    return entries


def _short(value: Any) -> str:
    words = brief(value)
    return words if len(words) <= _MOST_WORDS else f"{words[: _MOST_WORDS - 1]}…"
