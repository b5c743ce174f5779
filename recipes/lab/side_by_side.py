"""A comparison as a page and as a picture: its table, and a timeline of each protocol around the same fault.

The timelines are aligned by what happens: the fault, who notices it, the election, the first leader that serves, the
first answer. Between two of these each has as much room as the one with the most moments needs, so one cursor serves
all. What is shown is one seed; the table is of all.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from recipes.lab.compare import Column, fault_of, rows, run_of
from recipes.lab.figures import HEARTBEATS, start_of
from recipes.lab.outage import Moments, moments
from recipes.lab.scenario import Scenario
from recipes.lab.table_picture import Table, add_table, document, height_of, width_of
from recipes.lab.timeline import LEFT, STEP, Picture, add_legend, add_picture, drawn, height_of_legend
from recipes.lab.trace import Trace
from recipes.lab.transcript import said

_BESIDE = 12  # moments that are drawn before the fault, and after the answer
_HEAD, _MISSING = 52, 60  # room in a picture: above what follows, and for a protocol that has none
_INK, _PALE = "#1b1b1b", "#8a8a8a"
_NAMES = ("fault", "noticed", "chosen", "serves", "answered")


class Aligned(NamedTuple):
    """Pictures of equal width. names, places: of the events by which they are aligned, and where these are."""

    pictures: list[Picture]
    spans: list[range]
    names: list[str]
    places: list[int]


def aligned(runs: Sequence[tuple[Trace, Moments]]) -> Aligned:
    """The runs as pictures in which the same things happen at the same place."""
    kept = _common([found for _, found in runs])
    spans, all_times, all_marks = [], [], []
    for trace, found in runs:
        numbers = [found[each]["i"] for each in kept]
        span = _span(trace, numbers[0], numbers[-1])
        marks = [trace.events[each]["t"] for each in (span[0], *numbers, span[-1])]
        times = sorted({event["t"] for event in drawn(trace, span)} | set(marks))
        spans.append(span)
        all_times.append(times)
        all_marks.append(marks)
    edges = [LEFT]
    segments = len(kept) + 1
    for part in range(segments):
        most = max(len(_between(times, marks, part)) for times, marks in zip(all_times, all_marks, strict=True))
        edges.append(edges[-1] + STEP * most)
    pictures = []
    for (trace, _), span, times, marks in zip(runs, spans, all_times, all_marks, strict=True):
        places = {marks[0]: LEFT}
        for part in range(segments):
            inside = _between(times, marks, part)
            for number, time in enumerate(inside, 1):
                places[time] = edges[part] + (edges[part + 1] - edges[part]) * number // len(inside)
        pictures.append(Picture(trace, span=span, places=places, width=edges[-1] + STEP))
    return Aligned(pictures, spans, [_NAMES[each] for each in kept], edges[1:-1])


class _Run(NamedTuple):
    """What is shown of one protocol. trace: None if the scenario does not run on it. found: None without an outage."""

    title: str
    trace: Trace | None
    found: Moments | None

    @property
    def missing(self) -> str:
        """Why it has no picture; empty if it has one."""
        if self.trace is None:
            return "The scenario does not run on this protocol."
        return "" if self.found is not None else "No write is answered behind a fault in this run."


class SideBySide(NamedTuple):
    """The runs of one seed, and the pictures of those in which something was answered behind the fault, in order."""

    fault: Scenario
    seed: int
    runs: list[_Run]
    aligned: Aligned


def side_by_side(columns: Sequence[Column], scenario: str | None, seed: int, servers: int) -> SideBySide:
    """What is shown of each protocol. columns: what `compare` has found for the same arguments."""
    fault = fault_of(scenario)
    runs = [_run(column, fault, seed, servers) for column in columns]
    together = [(each.trace, each.found) for each in runs if each.trace is not None and each.found is not None]
    return SideBySide(fault, seed, runs, aligned(together) if together else Aligned([], [], [], []))


def comparison(columns: Sequence[Column], scenario: str | None, seeds: range, servers: int) -> dict[str, Any]:
    """What the page of a comparison shows. columns: what `compare` has found for the same arguments."""
    fault, seed, runs, shown = side_by_side(columns, scenario, seeds.start, servers)
    pictures = iter(zip(shown.pictures, shown.spans, strict=True))
    return {
        "title": fault.title,
        "compare": {
            "scenario": fault.id,
            "seed": seed,
            "seeds": [seeds.start, seeds.stop - 1],
            "servers": servers,
            "heads": [each.title for each in runs],
            "rows": [[label, *cells] for label, cells in rows(columns, servers)],
            "parts": [[label, *cells] for label, cells in _parts(runs)],
            "phases": [list(each) for each in zip(shown.names, shown.places, strict=True)],
            "runs": [_shown(each, pictures) for each in runs],
        },
    }


def comparison_picture(
    columns: Sequence[Column], scenario: str | None, seeds: range, servers: int, lang: str = "en"
) -> str:
    """The same in SVG: the timelines below each other, then what the parts of the outage took, then all figures."""
    fault, seed, runs, shown = side_by_side(columns, scenario, seeds.start, servers)
    titles = [each.title for each in runs]
    parts = Table(f"The runs of seed {seed}", ["", *titles], [[label, *cells] for label, cells in _parts(runs)])
    said = f"Seeds {seeds.start} to {seeds.stop - 1}, {servers} servers"
    figures = Table(said, ["", *titles], [[label, *cells] for label, cells in rows(columns, servers)])
    roles = sorted({role for picture in shown.pictures for role in picture.roles()})
    heights = [_MISSING if each.missing else shown.pictures[0].height for each in runs]
    lanes = _HEAD + sum(heights)
    tables = lanes + height_of_legend(roles) + _HEAD
    width = max(width_of(parts), width_of(figures), *(each.width + 20 for each in shown.pictures[:1]))
    title = f"{fault.title[lang]}: {', '.join(titles)}"
    root = document(title, width, tables + height_of(parts) + height_of(figures))
    for number, (name, x) in enumerate(zip(shown.names, shown.places, strict=True)):
        top = 36 + 12 * (number % 2)  # two may be near to each other
        root.add("line", x1=x, x2=x, y1=top, y2=lanes, stroke=_PALE, stroke_dasharray="2 3")
        root.add("text", name, x=x + 3, y=top, font_size=10, fill=_INK)
    y, pictures = _HEAD, iter(shown.pictures)
    for run, height in zip(runs, heights, strict=True):
        root.add("text", run.title, x=12, y=y + 18, font_size=12, font_weight="bold", fill=_INK)
        if run.missing:
            root.add("text", run.missing, x=12, y=y + 36, fill=_INK)
        else:
            add_picture(root.add("g", transform=f"translate(0 {y})"), next(pictures))
        y += height
    add_legend(root, roles, lanes)
    add_table(root, parts, tables)
    add_table(root, figures, tables + height_of(parts))
    return f"{root.text()}\n"


def _run(column: Column, fault: Scenario, seed: int, servers: int) -> _Run:
    trace = run_of(fault, column.protocol, seed, servers).trace if column.outages is not None else None
    return _Run(column.title, trace, None if trace is None else moments(trace))


def _shown(run: _Run, pictures: Iterator[tuple[Picture, range]]) -> dict[str, Any]:
    if run.trace is None or run.found is None:
        return {"title": run.title, "missing": run.missing}
    picture, span = next(pictures)
    events = [run.trace.events[number] for number in span]
    return {
        "title": run.title,
        "missing": "",
        "width": picture.width,
        "height": picture.height,
        "lanes": picture.lanes,
        "pieces": [each.element.plain() for each in picture.pieces],
        "events": [[each["i"], each["t"], each["n"], said(run.trace, each), picture.x[each["i"]]] for each in events],
    }


def _parts(runs: Sequence[_Run]) -> list[tuple[str, list[str]]]:
    """Of the runs that are shown: who noticed the fault, and what each part of the time without service took."""
    labels = ("who noticed, after how long", "a leader was chosen after", "it served after", "first answer after")
    lines = [(label, [_part(each.found, place) for each in runs]) for place, label in enumerate(labels, 1)]
    return [*lines, ("messages until the first answer, without heartbeats", [_sent(each) for each in runs])]


def _part(found: Moments | None, place: int) -> str:
    if found is None:
        return "-"
    who = f"{found.noticed['n']}, " if place == 1 else ""
    return f"{who}{(found[place]['t'] - found.fault['t']) / 1000:.3f} ms"


def _sent(run: _Run) -> str:
    if run.trace is None or run.found is None:
        return "-"
    until = run.trace.events[run.found.fault["i"] : run.found.answered["i"]]
    return str(sum(1 for event in until if event["k"] == "send" and event["role"] not in HEARTBEATS))


def _common(found: Sequence[Moments]) -> list[int]:
    """The places of those moments that all runs have in the same order: the fault, the answer, and what is between."""
    kept = [0]
    for place in range(1, len(_NAMES)):
        last = place == len(_NAMES) - 1
        if last or all(each[kept[-1]]["i"] <= each[place]["i"] <= each.answered["i"] for each in found):
            kept.append(place)
    return kept


def _span(trace: Trace, fault: int, answered: int) -> range:
    """From some moments before the fault to some after the answer."""
    before = drawn(trace, range(start_of(trace), fault))
    after = drawn(trace, range(answered + 1, len(trace.events)))
    earliest = sorted({event["t"] for event in before})[-_BESIDE:][:1]
    latest = sorted({event["t"] for event in after})[:_BESIDE][-1:]
    first = next((event["i"] for event in before if [event["t"]] == earliest), fault)
    last = max((event["i"] for event in after if [event["t"]] <= latest), default=answered)
    return range(first, last + 1)


def _between(times: Sequence[int], marks: Sequence[int], part: int) -> list[int]:
    return [time for time in times if marks[part] < time <= marks[part + 1]]
