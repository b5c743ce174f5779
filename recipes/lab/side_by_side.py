"""The page of a comparison: its table, and a timeline of each protocol around the same fault.

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
from recipes.lab.timeline import LEFT, STEP, Picture, drawn
from recipes.lab.trace import Trace
from recipes.lab.transcript import said

_BESIDE = 12  # moments that are drawn before the fault, and after the answer
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


def comparison(columns: Sequence[Column], scenario: str | None, seeds: range, servers: int) -> dict[str, Any]:
    """What the page of a comparison shows. columns: what `compare` has found for the same arguments."""
    fault = fault_of(scenario)
    runs = [_run(column, fault, seeds.start, servers) for column in columns]
    together = [(each.trace, each.found) for each in runs if each.trace is not None and each.found is not None]
    shown = aligned(together) if together else Aligned([], [], [], [])
    pictures = iter(zip(shown.pictures, shown.spans, strict=True))
    return {
        "title": fault.title,
        "compare": {
            "scenario": fault.id,
            "seed": seeds.start,
            "seeds": [seeds.start, seeds.stop - 1],
            "servers": servers,
            "heads": [each.title for each in runs],
            "rows": [[label, *cells] for label, cells in rows(columns, servers)],
            "parts": [[label, *cells] for label, cells in _parts(runs)],
            "phases": [list(each) for each in zip(shown.names, shown.places, strict=True)],
            "runs": [_shown(each, pictures) for each in runs],
        },
    }


def _run(column: Column, fault: Scenario, seed: int, servers: int) -> _Run:
    trace = run_of(fault, column.protocol, seed, servers).trace if column.outages is not None else None
    return _Run(column.title, trace, None if trace is None else moments(trace))


def _shown(run: _Run, pictures: Iterator[tuple[Picture, range]]) -> dict[str, Any]:
    if run.trace is None:
        return {"title": run.title, "missing": "The scenario does not run on this protocol."}
    if run.found is None:
        return {"title": run.title, "missing": "No write is answered behind a fault in this run."}
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
