"""A trace for other tools: a sequence diagram for Mermaid, a log for ShiViz, figures as CSV.

Sources: Mermaid's syntax of sequence diagrams, with its codes for characters that mean something there; ShiViz' page on
its input, which begins with the expression that reads it.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping

from recipes.lab.figures import HEARTBEATS, figures
from recipes.lab.trace import Event, Trace
from recipes.lab.transcript import brief, said

_HAPPENINGS = frozenset({"crash", "power", "start", "pause", "resume", "call", "reply", "note", "fault", "heal"})
_SHIVIZ = r"(?<event>.*)\n(?<host>\S*) (?<clock>{.*})"


def mermaid(trace: Trace) -> str:
    """A sequence diagram: an arrow where a message arrives or is lost, a note for what happens to a site."""
    names = {site: f"n{number}" for number, site in enumerate(trace.sites)}
    everywhere = f"n0,n{len(names) - 1}" if len(names) > 1 else "n0"
    lines = ["sequenceDiagram"]
    lines += [f"    participant {name} as {_coded(site)}" for site, name in names.items()]
    for event in trace.events:
        kind = event["k"]
        if kind in ("deliver", "lost"):
            sent = trace.events[event["id"]]
            one, other = names.get(sent["n"]), names.get(sent["to"])
            if sent["role"] not in HEARTBEATS and one and other:
                arrow, why = ("->>", "") if kind == "deliver" else ("-x", f", lost: {event['why']}")
                lines.append(f"    {one}{arrow}{other}: {_coded(sent['role'] + _fields(sent) + why)}")
        elif kind in _HAPPENINGS and names:
            over = names.get(event["n"], everywhere)
            lines.append(f"    Note over {over}: {_coded(said(trace, event))}")
    return "\n".join(lines) + "\n"


def shiviz(trace: Trace) -> str:
    """A log with vector clocks: an event a line, below it its site and clock."""
    clocks: dict[str, dict[str, int]] = {site: {} for site in trace.sites}
    sent: dict[int, dict[str, int]] = {}
    lines = [_SHIVIZ, ""]
    for event in trace.events:
        site, kind = event["n"], event["k"]
        if site not in clocks or kind not in (*_HAPPENINGS, "send", "deliver"):
            continue
        clock = clocks[site]
        if kind == "deliver":
            for other, count in sent.get(event["id"], {}).items():
                clock[other] = max(clock.get(other, 0), count)
        clock[site] = clock.get(site, 0) + 1
        if kind == "send":
            sent[event["i"]] = dict(clock)
        lines += [_one_line(f"{event['t'] / 1000:.3f} ms {said(trace, event)}"), f"{_host(site)} {_clock(clock)}"]
    return "\n".join(lines) + "\n"


def table(trace: Trace) -> str:
    """The figures, a name and a value a line; each role of messages has a line of its own."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("figure", "value"))
    for name, value in figures(trace).items():
        if isinstance(value, dict):
            writer.writerows((f"{name}.{each}", count) for each, count in value.items())
        else:
            writer.writerow((name, value))
    return out.getvalue()


EXPORTS: Mapping[str, Callable[[Trace], str]] = {"mermaid": mermaid, "shiviz": shiviz, "csv": table}


def _fields(sent: Event) -> str:
    return "".join(f" {name}={brief(value)}" for name, value in sent["fields"].items() if value is not None)


def _coded(text: str) -> str:
    """A text in which nothing means something to Mermaid."""
    plain = " ,.=-_/()[]"
    return "".join(each if each.isalnum() or each in plain else f"#{ord(each)};" for each in " ".join(text.split()))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _host(site: str) -> str:
    return "-".join(site.split()) or "-"


def _clock(clock: Mapping[str, int]) -> str:
    return json.dumps({_host(site): count for site, count in clock.items()}, ensure_ascii=False)
