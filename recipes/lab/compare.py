"""Protocols side by side: what one write takes, beside the formula of the books, and what a fault costs.

Each figure is a function of traces. All protocols of a comparison get the same seeds, and so the same delays: message n
from one server to another takes equally long in all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from recipes.core.errors import BadArguments, invariant
from recipes.lab.casts import protocol_of
from recipes.lab.expectations import follow_state
from recipes.lab.figures import HEARTBEATS, path_to
from recipes.lab.outage import heartbeats, outage
from recipes.lab.rejoin import Rejoin, applied_of, rejoin
from recipes.lab.run import Outcome, run
from recipes.lab.scenario import Scenario, load, names
from recipes.lab.staleness import oldest_stale_ms
from recipes.lab.steps import Step
from recipes.lab.trace import Trace

BATCH = 64  # writes at once
MISSED = 8  # writes that a server misses
AWAY_MS = 100  # how long it is down behind them
LINGER_MS = 1000  # until what is measured has happened
WRITE, IDLE, FAULT = "cmp-write", "cmp-heartbeat", "cmp-leader-crash"

# What a write takes with n servers, the client at the leader. ZAB, and our Raft, tell the commit at once.
FORMULAS: Mapping[str, tuple[str, Callable[[int], int]]] = {
    "zab": ("3(n-1)", lambda n: 3 * (n - 1)),
    "raft": ("2(n-1) + n-1, told at once", lambda n: 3 * (n - 1)),
    "multi-paxos": ("2(n-1)", lambda n: 2 * (n - 1)),
    "primary-backup": ("2(n-1)", lambda n: 2 * (n - 1)),
}


class WriteCost(NamedTuple):
    """What one write takes. messages: without heartbeats; fsyncs: at all servers; on_path: one after the other."""

    messages: int
    formula: str
    expected: int
    bytes: int
    delays: int
    fsyncs: int
    fsyncs_on_path: int


class Batch(NamedTuple):
    """What each of many writes takes that are made at once at the leader: on average, and without heartbeats."""

    messages: float
    bytes: float
    fsyncs: float


class Column(NamedTuple):
    """One protocol of a comparison.

    delays_at_a_follower: one-way delays until the reply to a client there; None if no write is taken there.
    visible_ms: from the reply until all others show the write. rejoin: of a follower that missed MISSED writes, None if
    it does not catch up. outages: of each seed, None where nothing was answered again. stale_ms: the oldest stale read
    of each seed.
    """

    protocol: str
    title: str
    mode: str
    write: WriteCost
    delays_at_a_follower: int | None
    visible_ms: float
    rejoin: Rejoin | None
    batch: Batch
    heartbeats: Mapping[str, float] | None
    outages: Mapping[int, Mapping[str, Any] | None] | None
    calls: Mapping[str, int]
    stale_ms: Mapping[int, float]


def compare(protocols: Sequence[str], scenario: str | None, seeds: range, servers: int) -> list[Column]:
    """Run the comparison. scenario: of the fault; with or without "cmp-".

    Raises BadArguments for a protocol that has no formula, or a scenario that no two protocols share.
    """
    for name in protocols:
        protocol_of(name)
        if name not in FORMULAS:
            raise BadArguments("", f"{name} cannot be compared: expected some of {', '.join(FORMULAS)}")
    fault = fault_of(scenario)
    return [_column(name, fault, seeds, servers) for name in protocols]


def measure_write(protocol: str, servers: int, seed: int = 1) -> WriteCost:
    """What one write takes on this protocol."""
    trace = run_of(load(WRITE), protocol, seed, servers).trace
    call = next(event for event in trace.events if event["k"] == "call" and event.get("label") == "write")
    reply = next(event for event in trace.events if event["k"] == "reply" and event["call"] == call["call"])
    after = trace.events[call["i"] + 1 :]
    sent = [event for event in after if event["k"] == "send" and event["role"] not in HEARTBEATS]
    delays, on_path = path_to(trace, reply["i"])
    formula, expected = FORMULAS[protocol]
    return WriteCost(
        len(sent),
        formula,
        expected(servers),
        sum(event["bytes"] for event in sent),
        delays,
        sum(1 for event in after if event["k"] == "fsync" and event["at"] == "begin"),
        on_path,
    )


def delays_at_a_follower(protocol: str, servers: int, seed: int = 1) -> int | None:
    """One-way delays until the reply to a client at a follower; None if no write is taken there."""
    scenario = load(WRITE)
    warm, write = scenario.steps
    steps = (warm, {**write, "target": "followers"})
    trace = run_of(replace(scenario, steps=steps), protocol, seed, servers).trace
    call = next(event for event in trace.events if event["k"] == "call" and event.get("label") == "write")
    reply = next((event for event in trace.events if event["k"] == "reply" and event["call"] == call["call"]), None)
    return path_to(trace, reply["i"])[0] if reply is not None and reply["outcome"] == "ok" else None


def visible_ms(protocol: str, servers: int, seed: int = 1) -> float:
    """Virtual ms from the reply to a write until all other servers show it."""
    scenario = load(WRITE)
    trace = run_of(replace(scenario, linger_ms=LINGER_MS), protocol, seed, servers).trace
    call = next(event for event in trace.events if event["k"] == "call" and event.get("label") == "write")
    reply = next(event for event in trace.events if event["k"] == "reply" and event["call"] == call["call"])
    states: dict[str, dict[str, Any]] = {}
    for event in trace.events[: reply["i"]]:
        follow_state(states, event)
    wanted = applied_of(states[reply["n"]])
    shown: dict[str, int] = {}  # of each server: when it first shows the write
    for event in trace.events[call["i"] :]:
        follow_state(states, event)
        if event["k"] == "state" and applied_of(states[event["n"]]) >= wanted:
            shown.setdefault(event["n"], event["t"])
    invariant(len(shown) == servers, f"{protocol}: {len(shown)} of {servers} servers show the write")
    late_us: int = max(shown.values()) - reply["t"]
    return round(max(0, late_us) / 1000, 3)


def measure_rejoin(protocol: str, servers: int, seed: int = 1) -> Rejoin | None:
    """What it takes until a follower is back that was down for MISSED writes; None if it does not catch up."""
    scenario = load(WRITE)
    warm, write = scenario.steps
    more = {key: value for key, value in write.items() if key not in ("when", "after_ms")}
    steps: list[Step] = [warm, {**{key: write[key] for key in ("when", "after_ms") if key in write},
                               "then": "crash", "target": "follower"}]  # fmt: skip
    steps += [{**more, "op": ["set", "x", str(number)], "as": f"missed {number}"} for number in range(1, MISSED + 1)]
    steps.append({"then": "start", "target": "all", "after_ms": AWAY_MS})
    return rejoin(run_of(replace(scenario, steps=tuple(steps), linger_ms=LINGER_MS), protocol, seed, servers).trace)


def measure_batch(protocol: str, servers: int, seed: int = 1) -> Batch:
    """What each of many writes takes that are made at once."""
    scenario = load(WRITE)
    warm, write = scenario.steps
    more = {key: value for key, value in write.items() if key not in ("when", "after_ms")}
    writes = [
        write,
        *({**more, "op": ["set", "x", str(number)], "as": f"write {number}"} for number in range(2, BATCH + 1)),
    ]
    trace = run_of(replace(scenario, steps=(warm, *writes)), protocol, seed, servers).trace
    call = next(event for event in trace.events if event["k"] == "call" and event.get("label") == "write")
    after = trace.events[call["i"] :]
    answered = sum(1 for event in after if event["k"] == "reply" and event["outcome"] == "ok")
    invariant(answered == BATCH, f"{answered} of {BATCH} writes were answered")
    sent = [event for event in after if event["k"] == "send" and event["role"] not in HEARTBEATS]
    syncs = sum(1 for event in after if event["k"] == "fsync" and event["at"] == "begin")
    counts = (len(sent), sum(event["bytes"] for event in sent), syncs)
    return Batch(*(round(count / BATCH, 2) for count in counts))


def _column(name: str, fault: Scenario, seeds: range, servers: int) -> Column:
    idle = load(IDLE)
    beats = heartbeats(run_of(idle, name, seeds.start, servers).trace) if name in idle.protocols else None
    outages: dict[int, Mapping[str, Any] | None] | None = None
    calls = {"ok": 0, "fail": 0, "unknown": 0}
    stale_ms: dict[int, float] = {}
    mode = protocol_of(name).mode
    if name in fault.protocols:
        outages = {}
        for seed in seeds:
            trace = run_of(fault, name, seed, servers).trace
            found = outage(trace)
            outages[seed] = None if found is None else found._asdict()
            stale_ms[seed] = oldest_stale_ms(trace)
            mode = str(trace.header["mode"])
            for kind in calls:
                calls[kind] += _replies(trace, kind)
    write, batch = measure_write(name, servers), measure_batch(name, servers)
    title, elsewhere = protocol_of(name).title, delays_at_a_follower(name, servers)
    visible, back = visible_ms(name, servers), measure_rejoin(name, servers)
    return Column(name, title, mode, write, elsewhere, visible, back, batch, beats, outages, calls, stale_ms)


def _replies(trace: Trace, kind: str) -> int:
    return sum(1 for event in trace.events if event["k"] == "reply" and event["outcome"] == kind)


def run_of(scenario: Scenario, protocol: str, seed: int, servers: int) -> Outcome:
    """One of the runs of a comparison."""
    return run(scenario, protocol=protocol, seed=seed, sites={"server": servers})


def fault_of(scenario: str | None) -> Scenario:
    """The scenario of a fault; "crash-leader" is as good as "cmp-leader-crash". Raises BadArguments."""
    if scenario is None:
        return load(FAULT)
    turned = "-".join(reversed(scenario.split("-")))
    known = [name.removeprefix("cmp-") for name in names() if name.startswith("cmp-")]
    for name in (scenario.removeprefix("cmp-"), turned):
        if name in known:
            return load(f"cmp-{name}")
    raise BadArguments("", f"--scenario {scenario}: expected one of {', '.join(known)}")


# As text.

_PARTS = ("total_ms", "notice_ms", "elect_ms", "sync_ms", "write_ms")


def rows(columns: Sequence[Column], servers: int) -> list[tuple[str, list[str]]]:
    """The table: a label, and a cell for each protocol."""
    found = [
        ("protocol", [column.title for column in columns]),
        ("mode", [column.mode for column in columns]),
        ("messages per write", [str(column.write.messages) for column in columns]),
        (f"  formula, n = {servers}", [f"{column.write.expected} = {column.write.formula}" for column in columns]),
        ("bytes per write", [str(column.write.bytes) for column in columns]),
        ("one-way delays until the reply", [str(column.write.delays) for column in columns]),
        ("  where the client is at a follower", [_or_none(column.delays_at_a_follower) for column in columns]),
        ("all others show it, ms after the reply", [str(column.visible_ms) for column in columns]),
        ("syncs at all servers", [str(column.write.fsyncs) for column in columns]),
        ("syncs on the way to the reply", [str(column.write.fsyncs_on_path) for column in columns]),
        (f"{BATCH} writes at once: messages for each", [str(column.batch.messages) for column in columns]),
        ("  bytes for each", [str(column.batch.bytes) for column in columns]),
        ("  syncs for each, at all servers", [str(column.batch.fsyncs) for column in columns]),
        (f"a follower that missed {MISSED} writes: messages", [_rejoin(column, "messages") for column in columns]),
        ("  bytes", [_rejoin(column, "bytes") for column in columns]),
        ("  syncs of its disk", [_rejoin(column, "fsyncs") for column in columns]),
        ("  ms until it has caught up", [_rejoin(column, "ms") for column in columns]),
        ("heartbeats per second, from the leader", [_beats(column, "heartbeat") for column in columns]),
        ("heartbeats per second, to the leader", [_beats(column, "heartbeat-reply") for column in columns]),
    ]
    for part in _PARTS:
        label = {"total_ms": "without service, ms: p50 / p99 / max"}.get(part, f"  {part.removesuffix('_ms')}")
        found.append((label, [_spread(column, part) for column in columns]))
    found.append(("who noticed first", [_who(column) for column in columns]))
    found.append(("epochs, terms or ballots begun", [_spread(column, "numbers") for column in columns]))
    found.append(("messages of elections", [_spread(column, "votes") for column in columns]))
    found.append(("messages of elections, of no use", [_spread(column, "wasted") for column in columns]))
    found.append(
        ("calls ok / failed / unknown", [" / ".join(str(count) for count in each.calls.values()) for each in columns])
    )
    found.append(("oldest stale read, ms", [_percentiles(list(each.stale_ms.values())) for each in columns]))
    return found


def table(columns: Sequence[Column], servers: int) -> str:
    """The table in aligned columns."""
    lines = [[label, *cells] for label, cells in rows(columns, servers)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def csv(columns: Sequence[Column]) -> str:
    """A line per figure, protocol and seed; what does not depend on a seed has none."""
    lines = ["protocol,seed,figure,value"]
    for column in columns:
        for figure, value in column.write._asdict().items():
            if figure != "formula":
                lines.append(f"{column.protocol},,{figure},{value}")
        lines += [f"{column.protocol},,batch_{figure},{value}" for figure, value in column.batch._asdict().items()]
        lines.append(f"{column.protocol},,visible_ms,{column.visible_ms}")
        rejoined = column.rejoin._asdict() if column.rejoin else {}
        lines += [f"{column.protocol},,rejoin_{figure},{value}" for figure, value in rejoined.items()]
        lines += [f"{column.protocol},{seed},oldest_stale_ms,{value}" for seed, value in column.stale_ms.items()]
        for role, value in (column.heartbeats or {}).items():
            lines.append(f"{column.protocol},,{role}s_per_second,{value}")
        for seed, found in (column.outages or {}).items():
            for figure, value in (found or {}).items():
                lines.append(f"{column.protocol},{seed},{figure},{value}")
    return "\n".join(lines) + "\n"


def facts(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The same as one list of objects, one for each protocol."""
    return [
        {
            **column._asdict(),
            "write": column.write._asdict(),
            "batch": column.batch._asdict(),
            "rejoin": column.rejoin and column.rejoin._asdict(),
        }
        for column in columns
    ]


def values(column: Column, figure: str) -> list[Any]:
    """A figure of all seeds in which there was an outage."""
    return [found[figure] for found in (column.outages or {}).values() if found is not None]


def _spread(column: Column, figure: str) -> str:
    return _percentiles(values(column, figure))


def _percentiles(found: Sequence[float]) -> str:
    """The middle one, the one that 99 of 100 do not exceed, and the largest."""
    ordered = sorted(found)
    if not ordered:
        return "-"
    return " / ".join(str(ordered[-(-len(ordered) * part // 100) - 1]) for part in (50, 99, 100))


def _rejoin(column: Column, figure: str) -> str:
    return "-" if column.rejoin is None else str(getattr(column.rejoin, figure))


def _or_none(value: int | None) -> str:
    return "-" if value is None else str(value)


def _who(column: Column) -> str:
    found = values(column, "noticed_by")
    counts = {site: found.count(site) for site in sorted(set(found))}
    return ", ".join(f"{site}: {count}" for site, count in counts.items()) if counts else "-"


def _beats(column: Column, role: str) -> str:
    return "-" if column.heartbeats is None else str(column.heartbeats[role])
