"""What there is to see of each site just after an event: whether it runs, what it shows, its disk, its timers."""

from dataclasses import dataclass, field
from typing import Any

from recipes.lab.checks.check import Disks
from recipes.lab.expectations import follow_state
from recipes.lab.figures import HEARTBEATS
from recipes.lab.trace import Event, Trace

RUNS = "runs"
_STATUSES = {"start": RUNS, "crash": "down", "power": "without power", "pause": "stands still", "resume": RUNS}
_ENDS = ("crash", "power")


@dataclass
class SiteThen:
    """One site at that moment.

    shown: what it says of itself. heard: by sender, the last message that it has got since its start, heartbeats left
    out. timers: when each runs out, in µs. durable, pending: what is on its disk, and what is written and not synced;
    None if the key is removed.
    """

    kind: str
    status: str = "down"
    shown: dict[str, Any] = field(default_factory=dict)
    heard: dict[str, Event] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    durable: dict[str, Any] = field(default_factory=dict)
    pending: list[tuple[str, Any]] = field(default_factory=list)


def moment(trace: Trace, at: int) -> dict[str, SiteThen]:
    """All sites just after this event."""
    sites = {name: SiteThen(kind) for name, kind in trace.sites.items()}
    disks, states = Disks(), dict[str, dict[str, Any]]()
    for event in trace.events[: at + 1]:
        disks.follow(event)
        follow_state(states, event)
        if event["n"] in sites:
            _follow(sites[event["n"]], event, trace)
    for name, site in sites.items():
        site.shown = states.get(name, {})
        site.durable = disks.of(name)
        site.pending = disks.pending(name)
    return sites


def _follow(site: SiteThen, event: Event, trace: Trace) -> None:
    kind = event["k"]
    site.status = _STATUSES.get(kind, site.status)
    if kind == "start":
        site.heard = {}
    if kind == "start" or kind in _ENDS:
        site.timers = {}
    elif kind == "timer":
        site.timers.pop(event["name"], None)
    elif kind == "deliver":
        sent = trace.events[event["id"]]
        if sent["role"] not in HEARTBEATS:
            site.heard[sent["n"]] = sent
    for name, due_us in event.get("timers", {}).items():
        if due_us is None:
            site.timers.pop(name, None)
        else:
            site.timers[name] = due_us
