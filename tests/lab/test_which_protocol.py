"""docs/which-protocol.md: each of its figures is that of a run, made again here; its text has none."""

import re

import pytest

from recipes.lab.compare import FORMULAS, Column, compare, measure_write, values
from recipes.lab.expectations import follow_state
from recipes.lab.figures import HEARTBEATS, figures, path_to
from recipes.lab.run import run
from recipes.lab.scenario import load
from recipes.lab.trace import Trace
from tests.lab.pages import DOCS, named_tests, scenarios_in, without_blocks, written

PAGE = "which-protocol.md"
SIZES = (3, 5, 7)
SEEDS = range(1, 21)
SERVED = {"zab": "ZAB", "raft": "Raft"}
REPLICATED = {"primary-backup": "Primary-backup", "multi-paxos": "Multi-Paxos", **dict(reversed(SERVED.items()))}

# Of one write: scenario, what is counted, what the answer waits for, and which sites there are so many of.
WRITES = [
    ("2pc-commit", "Two-phase commit", "4k", "all participants, twice", "participant"),
    ("3pc-commit", "Three-phase commit", "6k", "all participants, three times", "participant"),
    (
        "txn-commit",
        "Two-phase commit, decision replicated",
        "4k + 4a",
        "all participants, and a majority of the record",
        "both",
    ),
    ("px-null", "Paxos, one value", "4n", "a majority, twice", "acceptor"),
    ("mp-three-exchanges", "Paxos, per entry", "6(n-1)", "a majority, three times", "server"),
]
COMPARED = {
    "primary-backup": "all",
    "multi-paxos": "a majority",
    "raft": "a majority, and its own disk",
    "zab": "a majority, and its own disk",
}


def row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def head(*cells: str) -> list[str]:
    return [row(*cells), "|" + "---|" * len(cells)]


def call_of(trace: Trace, label: str) -> tuple[int, int]:
    """The events of a call and of its answer."""
    call = next(event for event in trace.events if event["k"] == "call" and event.get("label") == label)
    reply = next(event for event in trace.events if event["k"] == "reply" and event["call"] == call["call"])
    return call["i"], reply["i"]


def waited(name: str, label: str, protocol: str | None = None) -> str:
    """How long a call of a scenario waited for its answer."""
    outcome = run(load(name), protocol=protocol)
    assert outcome.wrong == ()
    call, reply = call_of(outcome.trace, label)
    return f"{(outcome.trace.events[reply]['t'] - outcome.trace.events[call]['t']) / 1000:.1f} ms"


def locked(name: str, label: str = "write") -> str:
    """The longest time for which a participant had something locked behind a call."""
    outcome = run(load(name))
    assert outcome.wrong == ()
    trace = outcome.trace
    call, _ = call_of(trace, label)
    states: dict[str, dict] = {}
    since: dict[str, int] = {}
    longest = 0
    for event in trace.events:
        follow_state(states, event)
        site = event["n"]
        if event["i"] < call or trace.sites.get(site) != "participant":
            continue
        if states.get(site, {}).get("locks"):
            since.setdefault(site, event["t"])
        elif site in since:
            longest = max(longest, event["t"] - since.pop(site))
    assert longest and not since
    return f"{longest / 1000:.1f} ms"


def test_what_one_write_takes(request):
    def measured(protocol: str) -> list[str]:
        found = [measure_write(protocol, n) for n in SIZES]
        assert len({(each.delays, each.fsyncs_on_path) for each in found}) == 1
        counts = [str(each.messages) for each in found]
        return [FORMULAS[protocol][0], *counts, str(found[0].delays), str(found[0].fsyncs_on_path), COMPARED[protocol]]

    lines = head("protocol", "run", "messages", *(f"n = {n}" for n in SIZES), "delays", "syncs", "waits for")
    lines += [row(title, "`cmp-write`", *measured(protocol)) for protocol, title in REPLICATED.items()]
    for name, title, formula, waits_for, kind in WRITES:
        counts, paths = [], set()
        for n in SIZES:
            sites = {"participant": n, "acceptor": n} if kind == "both" else {kind: n}
            outcome = run(load(name), sites=sites)
            found = figures(outcome.trace)
            assert formula_of(formula)(n) == found["messages"], name
            counts.append(found["messages"])
            paths.add((found["delays"], found["fsyncs_on_path"]))
        assert len(paths) == 1, name
        lines.append(row(title, f"`{name}`", formula, *counts, *paths.pop(), waits_for))
    written(PAGE, "write", lines, request)


def formula_of(text: str):
    return {
        "4n": lambda n: 4 * n,
        "4k": lambda k: 4 * k,
        "6k": lambda k: 6 * k,
        "4k + 4a": lambda k: 8 * k,
        "6(n-1)": lambda n: 6 * (n - 1),
    }[text]


def test_how_long_a_write_waits_for_one_server(request):
    def cells(name: str, label: str, protocols) -> list[str]:
        return [waited(name, label, protocol) if protocol in protocols else "-" for protocol in REPLICATED]

    def beside(first: str, rest: list[str]) -> list[str]:
        return [first, *rest[1:]]

    all_of, majority = tuple(REPLICATED), ("multi-paxos", "raft", "zab")
    lines = head("what is wrong", "runs", *REPLICATED.values())
    lines.append(row("nothing", "`cmp-write`", *cells("cmp-write", "write", all_of)))
    down = beside(f"{waited('pb-blocks', 'one')}, until it is back", cells("cmp-follower-down", "after", majority))
    lines.append(row("one other server is down", "`pb-blocks`, `cmp-follower-down`", *down))
    slow = beside(f"{waited('pb-write', 'write')}, as its disk", cells("cmp-commit-rule", "write", majority))
    lines.append(row("one other disk is slow", "`pb-write`, `cmp-commit-rule`", *slow))
    lines.append(row("the leader's disk is slow", "`cmp-slow-disk`", *cells("cmp-slow-disk", "write", SERVED)))
    written(PAGE, "one server", lines, request)


@pytest.mark.thorough  # two faults on three protocols, with all seeds
def test_how_long_there_is_no_leader(request):
    def spread(column: Column, figure: str) -> str:
        found = sorted(values(column, figure))
        if not found:
            return "-"
        assert len(found) == len(SEEDS), "a seed without an answer is to be seen here"
        return f"{found[len(found) // 2]:.0f} / {found[-1]:.0f}"

    lines = head("fault and part", "run", *("Multi-Paxos", "Raft", "ZAB"))
    faults = {
        "cmp-leader-crash": "the leader crashes", "cmp-leader-isolated": "the leader is cut off",
        "cmp-leader-paused": "the leader stands still", "cmp-majority-down": "a majority crashes, and is started again",
        "cmp-power-cut": "all lose power, and are started again",
    }  # fmt: skip
    for fault, says in faults.items():
        columns = compare(["multi-paxos", "raft", "zab"], fault, SEEDS, 3)
        for part, called in (
            ("total_ms", f"**{says}: no write is answered, ms**"),
            ("notice_ms", "until somebody notices, ms"),
            ("elect_ms", "until one is elected, ms"),
            ("sync_ms", "until it serves, ms"),
            ("write_ms", "until its first write is answered, ms"),
            ("votes", "messages of the election"),
        ):
            lines.append(row(called, f"`{fault}`", *(spread(column, part) for column in columns)))
    written(PAGE, "no leader", lines, request)


def test_how_long_participants_are_locked(request):
    lines = head("what is wrong", "two-phase commit", "three-phase commit", "decision replicated")

    def cell(name: str, why: str = "") -> str:
        return f"`{name}`: {locked(name)}{why}"

    back = ", until it is back"
    lines.append(row("nothing", cell("2pc-commit"), cell("3pc-commit"), cell("txn-commit")))
    lines.append(
        row(
            "the coordinator dies when all have voted",
            cell("2pc-coordinator-dies", back),
            cell("3pc-not-blocking"),
            cell("txn-coordinator-dies"),
        )
    )
    lines.append(
        row(
            "the decision reaches only some",
            cell("2pc-partial-commit", back),
            cell("3pc-do-timeout-commits"),
            cell("txn-partial-commit"),
        )
    )
    lines.append(
        row(
            "a partition before all have executed",
            "-",
            cell("3pc-partition-splits", ", and the sides differ"),
            cell("txn-replicated-decision"),
        )
    )
    lines.append(
        row(
            "one link is cut, and the abort is lost",
            "-",
            cell("3pc-abort-lost", ", and one differs"),
            cell("txn-abort-lost"),
        )
    )
    written(PAGE, "locked", lines, request)


def test_what_a_read_costs(request):
    labels = {
        "at a follower": "a read at a follower",
        "at the leader": "a read at the leader",
        "sync at the leader": "sync at the leader",
        "sync at a follower": "sync at a follower",
    }
    lines = head("what", "run", *(f"delays, {title}" for title in SERVED.values()), "syncs")
    for label, says in labels.items():
        paths = []
        for protocol in SERVED:
            trace = run(load("cmp-read"), protocol=protocol).trace
            paths.append(path_to(trace, call_of(trace, label)[1]))
        assert {syncs for _, syncs in paths} == {0}
        lines.append(row(says, "`cmp-read`", *(delays for delays, _ in paths), 0))
    written(PAGE, "reads", lines, request)


def test_what_observers_cost(request):
    lines = head("servers", "run", *(f"messages / delays, {title}" for title in SERVED.values()))
    for name, says in (("cmp-write", "three voters"), ("cmp-observer", "three voters, two observers")):
        cells = []
        for protocol in SERVED:
            trace = run(load(name), protocol=protocol).trace
            call, reply = call_of(trace, "write")
            sent = [each for each in trace.events[call:] if each["k"] == "send" and each["role"] not in HEARTBEATS]
            cells.append(f"{len(sent)} / {path_to(trace, reply)[0]}")
        lines.append(row(says, f"`{name}`", *cells))
    written(PAGE, "observers", lines, request)


def test_heartbeats(request):
    lines = head("heartbeats per second", "run", *SERVED.values())
    columns = compare(list(SERVED), None, range(1, 2), 3)
    for role, says in (("heartbeat", "from the leader"), ("heartbeat-reply", "to the leader")):
        beats = [column.heartbeats for column in columns]
        lines.append(row(says, "`cmp-heartbeat`", *(f"{each[role]:.0f}" for each in beats if each is not None)))
    written(PAGE, "heartbeats", lines, request)


def test_the_text_has_no_figures_of_its_own():
    text = re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", without_blocks(PAGE))
    assert not re.search(r"\d", text), re.findall(r".*\d.*", text)


def test_its_scenarios_exist_and_it_says_something_about_each_protocol():
    assert len(set(scenarios_in(PAGE))) > 40
    sections = re.findall(r"^## (.+)$", (DOCS / PAGE).read_text(), re.MULTILINE)
    for title in (*REPLICATED.values(), "Paxos", "Two-phase commit", "Three-phase commit"):
        assert any(title.lower() in section.lower() for section in sections), title
    assert named_tests(PAGE)
