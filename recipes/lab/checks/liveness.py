"""L1: once all faults are over, calls are answered.

Whether a fault is over is read from the trace. What it cannot show counts as a fault that goes on: a cut is over when
there were as many ends of cuts as cuts, and a message that takes longer than any does was held, and is a fault too.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from recipes.lab.casts import protocol_of
from recipes.lab.checks.check import Broken, Check
from recipes.lab.trace import Event, Trace

_SERVED_GRACE_US = 1_000_000  # until servers have noticed what is gone, and elected
_LEASE_MS, _MORE_MS = 150, 100  # of Multi-Paxos, if nothing is said; and what comes on top of two of them
_HELD_US = 500_000  # no message takes so long by itself
_FOR_EVER = 1 << 60
_ENDS = {"pause": "resume", "crash": "start", "power": "start"}

Span = tuple[int, int]  # times


def call_not_answered(trace: Trace) -> Broken | None:
    """The first call that nobody answers though no fault is near."""
    spans = sorted(_faults(trace))
    begins = [begin for begin, _ in spans]
    latest = list(accumulate((end for _, end in spans), max))  # of each span and all before it
    calls = {event["call"]: event for event in trace.events if event["k"] == "call"}
    grace_us = _grace_us(trace)
    for event in trace.events:
        if event["k"] != "reply" or event["outcome"] != "unknown" or event.get("value") != "timed out":
            continue
        call = calls[event["call"]]
        before = bisect_right(begins, event["t"])
        if before and latest[before - 1] > call["t"] - grace_us:
            continue
        return Broken(
            event["i"],
            f"call {event['call']} at {call['n']} has no answer after {(event['t'] - call['t']) // 1000} ms, "
            f"though all faults were over for {grace_us // 1000} ms when it was made",
            f"{call['n']} 的调用 {event['call']} 在 {(event['t'] - call['t']) // 1000} ms 后仍无应答，"
            f"而发出时所有故障已结束 {grace_us // 1000} ms",
            (call["i"],),
        )
    return None


def _grace_us(trace: Trace) -> int:
    if protocol_of(trace.protocol).served:
        return _SERVED_GRACE_US
    lease_ms: int = trace.settings.get("lease_ms", _LEASE_MS)
    return (2 * lease_ms + _MORE_MS) * 1000


def _faults(trace: Trace) -> Iterator[Span]:
    """When something was wrong."""
    open_: dict[tuple[str, str], int] = {(site, "start"): -1 for site in trace.sites}  # by site and what ends it
    cuts, cut_since = 0, 0
    for event in trace.events:
        kind, site, time, what = event["k"], event["n"], event["t"], str(event.get("what", ""))
        if kind in _ENDS:
            open_.setdefault((site, _ENDS[kind]), time)
            if kind != "pause" and (site, "resume") in open_:
                yield open_.pop((site, "resume")), time
        elif kind in ("start", "resume") and (site, kind) in open_:
            yield open_.pop((site, kind)), time
        elif kind == "fault" and what == "cut":
            cut_since = cut_since if cuts else time
            cuts += 1
        elif kind == "heal" and what == "cut" and cuts:
            cuts -= 1
            yield cut_since, time
        elif kind == "fault":
            open_.setdefault((site, what.partition(" ")[0]), time)
            yield time, time
        elif kind == "heal" and (site, what.partition(" ")[0]) in open_:
            yield open_.pop((site, what.partition(" ")[0])), time
    yield from ((since, _FOR_EVER) for (_, what), since in open_.items() if what not in ("clock", "wipe"))
    if cuts:
        yield cut_since, _FOR_EVER
    yield from _held(trace)


def _held(trace: Trace) -> Iterator[Span]:
    """The messages that were held or dropped."""
    ends: dict[int, Event] = {}
    for event in trace.events:
        if event["k"] in ("deliver", "lost"):
            ends.setdefault(event["id"], event)
    last = trace.events[-1]["t"] if trace.events else 0
    for event in trace.events:
        if event["k"] != "send":
            continue
        end = ends.get(event["i"])
        arrived = end["t"] if end is not None else _FOR_EVER
        if min(arrived, last) - event["t"] >= _HELD_US or (end is not None and end.get("why") == "dropped"):
            yield event["t"], arrived


CHECKS = (
    Check(
        "L1",
        "once all faults are over, calls are answered",
        "所有故障结束之后，调用得到应答",
        call_not_answered,
    ),
)
