"""The views of a page as pictures in SVG, for slides and for print: of a moment, and of a whole run.

`timeline.py` has the timeline.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from recipes.lab.checks.check import Broken
from recipes.lab.checks.registry import CHECKS
from recipes.lab.checks_timeline import ROW, WIDTH, checks_timeline
from recipes.lab.figures import figures
from recipes.lab.logs_picture import logs
from recipes.lab.moment import moment
from recipes.lab.ring_picture import ring_picture
from recipes.lab.svg import Element
from recipes.lab.table_picture import Changed, Table, add_table, document, draw_tables, height_of, width_of
from recipes.lab.trace import Trace
from recipes.lab.transcript import brief

_STATUS_KINDS = ("start", "crash", "power", "pause", "resume")
_LABELS = 52  # width of the names of checks


def _logs(trace: Trace, at: int, title: str) -> str:
    return logs(replace(trace, events=trace.events[: at + 1], end=None), title)


def _state(trace: Trace, at: int, title: str) -> str:
    sites, event = moment(trace, at), trace.events[at]
    names = list(dict.fromkeys(name for site in sites.values() for name in site.shown))

    def shown(site: str, name: str) -> str:
        if name not in sites[site].shown:
            return ""
        changed = event["n"] == site and (event["k"] == "start" or (event["k"] == "state" and name in event))
        return _cell(brief(sites[site].shown[name]), changed)

    rows = []
    for name, site in sites.items():
        left = "; ".join(f"{timer}: {(due_us - event['t']) / 1000:.3f} ms"
                         for timer, due_us in site.timers.items() if due_us >= event["t"])  # fmt: skip
        status = _cell(site.status, event["n"] == name and event["k"] in _STATUS_KINDS)
        set_now = event["n"] == name and bool(event.get("timers"))
        rows.append([name, status, *(shown(name, each) for each in names), _cell(left, set_now)])

    def heard(site: str, other: str) -> str:
        sent = sites[site].heard.get(other)
        if sent is None:
            return ""
        fields = " ".join(f"{key}={brief(value)}" for key, value in sent["fields"].items() if value is not None)
        now = event["n"] == site and event["k"] == "deliver" and event["id"] == sent["i"]
        return _cell(f"{sent['real']} {fields}".rstrip(), now)

    table = Table(f"State {_after(trace, at)}; ● has changed", ["site", "status", *names, "timers, time left"], rows)
    last = Table(
        "What each has last heard from each other, without heartbeats", ["site", *(f"from {each}" for each in sites)],
        [[name, *(heard(name, other) for other in sites)] for name in sites],
    )  # fmt: skip
    return draw_tables(title, [table, last])


def _disks(trace: Trace, at: int, title: str) -> str:
    tables = []
    for name, site in moment(trace, at).items():
        rows = [[key, brief(value), "on disk"] for key, value in site.durable.items()]
        rows += [[key, brief(value), "not synced" if value is not None else "removed, not synced"]
                 for key, value in site.pending]  # fmt: skip
        if rows:
            tables.append(
                Table(
                    f"{name} ({site.kind}), {site.status}: its disk {_after(trace, at)}",
                    ["key", "value", "where"],
                    rows,
                )
            )
    return draw_tables(
        title, tables or [Table(f"Nothing is written {_after(trace, at)}", ["key", "value", "where"], [])]
    )


def _after(trace: Trace, at: int) -> str:
    return f"after event {at}, {trace.events[at]['t'] / 1000:.3f} ms"


def _cell(text: str, changed: bool) -> str:
    return Changed(text) if changed else text


def figures_picture(trace: Trace, title: str) -> str:
    """What the run took."""
    rows: list[list[str]] = []
    for name, value in figures(trace).items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        rows += [[f"{name}: {part}" if part else name, brief(number)] for part, number in parts]
    return draw_tables(title, [Table("Figures", ["figure", "value"], rows)])


def checks_picture(trace: Trace, found: Mapping[str, Broken | None], title: str, lang: str = "en") -> str:
    """The checks over the events, and what each has found, in English or Chinese."""
    rows = []
    for name, broken in found.items():
        why = broken and (broken.why if lang == "en" else broken.why_zh)
        result = f"broken at event {broken.event}: {why}" if broken else "holds"
        rows.append([name, CHECKS[name].says if lang == "en" else CHECKS[name].says_zh, result])
    table = Table("What is checked", ["check", "property", "result"], rows, most=110)
    strips = 50 + ROW * len(found)
    root = document(title, max(_LABELS + WIDTH + 20, width_of(table)), strips + height_of(table))
    strip = Element("g", transform=f"translate({_LABELS} 34)")
    strip.content += checks_timeline(found, len(trace.events))
    root.content.append(strip)
    for number, name in enumerate(found):
        root.add("text", name, x=12, y=34 + ROW * number + 15, fill="#1b1b1b")
    add_table(root, table, strips)
    return f"{root.text()}\n"


# Of a moment: each is called with a trace, the number of an event in it, and a title.
MOMENTS: Mapping[str, Callable[[Trace, int, str], str]] = {
    "ring": ring_picture, "state": _state, "logs": _logs, "disks": _disks
}  # fmt: skip
