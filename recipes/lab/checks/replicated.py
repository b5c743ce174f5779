"""Checks of all servers that keep one log, whatever their protocol: what clients were told, and what logs hold."""

from collections.abc import Mapping
from typing import Any

from recipes.lab.checks.check import Broken, text_of
from recipes.lab.checks.histories import Histories, Log, epoch_of, text_of_zxid, zxid_of
from recipes.lab.trace import Event, Trace

_WRITES = frozenset({"set", "create", "delete", "set acl"})


def acknowledged_missing_in_leader(trace: Trace) -> Broken | None:
    """A1."""
    told: dict[int, int] = {}
    calls = operations(trace)
    led: set[tuple[str, Any]] = set()
    histories = Histories(trace)
    for event, _ in histories.moments():
        if is_acknowledged_write(event, calls):
            told[zxid_of(event["zxid"])] = event["i"]
        state = histories.states.get(event["n"], {}) if event["k"] == "state" else {}
        if state.get("role") != "leader" or (event["n"], state["number"]) in led:
            continue
        led.add((event["n"], state["number"]))
        for zxid, when in told.items():
            if epoch_of(zxid) < state["number"] and not histories.log(event["n"]).has(zxid):
                said = text_of_zxid(zxid)
                return Broken(
                    event["i"],
                    f"{event['n']} leads {state['number']} without {said}, which was acknowledged",
                    f"{event['n']} 领导 {state['number']}，却没有已确认的 {said}",
                    (when,),
                )
    return None


def trees_differ(trace: Trace) -> Broken | None:
    """A2."""
    first: dict[str, tuple[str, str, int]] = {}
    histories = Histories(trace)
    for event, _ in histories.moments():
        if event["k"] != "state":
            continue
        state = histories.states[event["n"]]
        if state.get("role") == "looking" or "digest" not in state:
            continue
        zxid, tree = state["applied"], state["digest"]
        before = first.setdefault(zxid, (tree, event["n"], event["i"]))
        if before[0] != tree:
            return Broken(
                event["i"],
                f"{event['n']} has another tree at {zxid} than {before[1]}: {tree}, and there {before[0]}",
                f"{event['n']} 在 {zxid} 的数据树与 {before[1]} 不同：{tree} 和 {before[0]}",
                (before[2],),
            )
    return None


def committed_cut(trace: Trace) -> Broken | None:
    """A3. What was acknowledged stays on the disks of a majority."""
    told: dict[int, int] = {}
    calls = operations(trace)
    histories = Histories(trace)
    for event, stored in histories.moments():
        if is_acknowledged_write(event, calls):
            told[zxid_of(event["zxid"])] = event["i"]
        for _, key, value in stored:
            zxid = zxid_of(key.partition(":")[2])
            if value is None and zxid in told and len(histories.holders(zxid)) < histories.majority:
                said = text_of_zxid(zxid)
                return Broken(
                    event["i"],
                    f"{event['n']} has cut {said}, which was acknowledged, and now no majority has it",
                    f"{event['n']} 截断了已确认的 {said}，多数派因此不再拥有它",
                    (told[zxid],),
                )
    return None


def acknowledged_not_on_majority(trace: Trace) -> Broken | None:
    """A4."""
    calls = operations(trace)
    histories = Histories(trace)
    for event, _ in histories.moments():
        if not is_acknowledged_write(event, calls):
            continue
        holders = histories.holders(zxid_of(event["zxid"]))
        if len(holders) < histories.majority:
            return Broken(
                event["i"],
                f"{event['n']} has acknowledged call {event['call']}, {event['zxid']}, which only "
                f"{text_of(holders)} have on disk",
                f"{event['n']} 已确认调用 {event['call']}（{event['zxid']}），但只有 {text_of(holders)} 的磁盘上有它",
            )
    return None


def client_misled(trace: Trace) -> Broken | None:
    """A5."""
    calls = operations(trace)
    clients = {event["call"]: event["client"] for event in trace.events if event["k"] == "call"}
    seen: dict[str, tuple[int, int]] = {}
    histories = Histories(trace)
    used: dict[int, int] = {}
    for event, _ in histories.moments():
        if event["k"] != "reply" or event["outcome"] != "ok" or "zxid" not in event:
            continue
        client, zxid = clients[event["call"]], zxid_of(event["zxid"])
        before, when = seen.get(client, (0, event["i"]))
        if zxid < before:
            return Broken(
                event["i"],
                f"{client} is shown {event['zxid']} after {text_of_zxid(before)}: it goes back in time",
                f"{client} 先看到 {text_of_zxid(before)}，后看到 {event['zxid']}：时间倒流",
                (when,),
            )
        seen[client] = zxid, event["i"]
        if event["call"] in calls and calls[event["call"]][0] in _WRITES:
            other = used.setdefault(zxid, event["call"])
            if other != event["call"]:
                return Broken(
                    event["i"],
                    f"calls {other} and {event['call']} have the same zxid, {event['zxid']}",
                    f"调用 {other} 和 {event['call']} 的 zxid 相同：{event['zxid']}",
                )
        found = _misread(calls.get(event["call"], []), event, histories.log(event["n"]))
        if found is not None:
            expected, at = found
            return Broken(
                event["i"],
                f"call {event['call']} reads {text_of(event['value'])} as of {event['zxid']}; "
                f"{text_of_zxid(at)} says {text_of(expected)}",
                f"调用 {event['call']} 在 {event['zxid']} 读到 {text_of(event['value'])}；"
                f"而 {text_of_zxid(at)} 是 {text_of(expected)}",
            )
    return None


def sync_stale(trace: Trace) -> Broken | None:
    """A6."""
    calls = operations(trace)
    newest, told = 0, 0
    wanted: dict[int, tuple[int, int]] = {}
    for event in trace.events:
        if event["k"] == "call" and event["op"][0] == "sync":
            wanted[event["call"]] = newest, told
        elif is_acknowledged_write(event, calls) and zxid_of(event["zxid"]) > newest:
            newest, told = zxid_of(event["zxid"]), event["i"]
        elif event["k"] == "reply" and event["outcome"] == "ok" and event["call"] in wanted:
            least, when = wanted[event["call"]]
            if zxid_of(event["zxid"]) < least:
                said = text_of_zxid(least)
                return Broken(
                    event["i"],
                    f"{event['n']} answers sync {event['call']} as of {event['zxid']}; {said} was acknowledged before",
                    f"{event['n']} 在 {event['zxid']} 应答 sync {event['call']}，而 {said} 在此之前已确认",
                    (when,),
                )
    return None


def _misread(operation: list[Any], event: Event, log: Log) -> tuple[str, int] | None:
    """What a read of a register should have shown by this log, and which entry says so; None if it did."""
    if not operation or operation[0] != "get":
        return None
    name = str(operation[1])
    path = name if name.startswith("/") else f"/{name}"
    limit = zxid_of(event["zxid"])
    for zxid in reversed(log.order):
        words = str(log.entries[zxid]).split(" ", 2)
        if zxid <= limit and words[0] in ("set", "create") and len(words) == 3 and words[1] == path:
            return None if words[2] == event["value"] else (words[2], zxid)
    return None


def operations(trace: Trace) -> dict[int, list[Any]]:
    """The operation of each call."""
    return {event["call"]: event["op"] for event in trace.events if event["k"] == "call"}


def is_acknowledged_write(event: Event, calls: Mapping[int, list[Any]]) -> bool:
    """Whether a client is told that its write is done."""
    return (
        event["k"] == "reply" and event["outcome"] == "ok" and "zxid" in event
        and bool(calls.get(event["call"])) and calls[event["call"]][0] in _WRITES
    )  # fmt: skip


def logs_do_not_match(trace: Trace) -> Broken | None:
    """Z2, RF4: an entry is one txn, behind one other."""
    first: dict[int, tuple[Any, int, str, int]] = {}
    histories = Histories(trace)
    for event, stored in histories.moments():
        new = stored if event["k"] != "start" else [(event["n"], key, value) for key, value in event["stored"].items()]
        for site, key, value in new:
            zxid = zxid_of(key.partition(":")[2]) if key.startswith("log:") else -1
            log = histories.log(site)
            if value is None or zxid <= log.base or zxid not in log.entries:
                continue
            before = log.before(zxid)
            one = first.setdefault(zxid, (value, before, site, event["i"]))
            if (one[0] != value or one[1] != before) and not (before == log.base != 0):
                said = text_of_zxid(zxid)
                return Broken(
                    event["i"],
                    f"{said} is {text_of(value)} behind {text_of_zxid(before)} at {site}, "
                    f"and {text_of(one[0])} behind {text_of_zxid(one[1])} at {one[2]}",
                    f"{said} 在 {site} 是 {text_of(value)}，前一条是 {text_of_zxid(before)}；"
                    f"在 {one[2]} 却是 {text_of(one[0])}，前一条是 {text_of_zxid(one[1])}",
                    (one[3],) if one[3] < event["i"] else (),
                )
    return None


def applied_differently(trace: Trace) -> Broken | None:
    """Z5, RF6: in one place of the order all apply one entry, and none leaves one out."""
    behind: dict[int, tuple[int, str, int]] = {}
    applied: dict[str, int] = {}
    served: dict[str, bool] = {}  # what is shown to clients never goes back; a tree that is being replaced may
    histories = Histories(trace)
    for event, _ in histories.moments():
        site = event["n"]
        if event["k"] == "start":
            applied.pop(site, None)
        if event["k"] != "state":
            continue
        was_served, served[site] = served.get(site, False), histories.states[site].get("role") != "looking"
        if "applied" not in event:
            continue
        now, log = zxid_of(event["applied"]), histories.log(site)
        since = applied.get(site, now)
        applied[site] = now
        if now < since and was_served and served[site]:
            return Broken(
                event["i"],
                f"{site} applies {event['applied']} behind {text_of_zxid(since)}",
                f"{site} 在 {text_of_zxid(since)} 之后又应用了 {event['applied']}",
            )
        for zxid in log.between(since, now):
            before = log.before(zxid)
            one = behind.setdefault(before, (zxid, site, event["i"]))
            if one[0] != zxid and before != log.base:
                return Broken(
                    event["i"],
                    f"{site} applies {text_of_zxid(zxid)} behind {text_of_zxid(before)}, where {one[1]} has applied "
                    f"{text_of_zxid(one[0])}",
                    f"{site} 在 {text_of_zxid(before)} 之后应用了 {text_of_zxid(zxid)}，"
                    f"而 {one[1]} 应用的是 {text_of_zxid(one[0])}",
                    (one[2],) if one[2] < event["i"] else (),
                )
        if now > log.last:
            return Broken(
                event["i"],
                f"{site} has applied {text_of_zxid(now)}, but its disk ends at {text_of_zxid(log.last)}",
                f"{site} 应用了 {text_of_zxid(now)}，但它的磁盘只到 {text_of_zxid(log.last)}",
            )
    return None
