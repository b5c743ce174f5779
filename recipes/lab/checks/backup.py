"""Checks of primary-backup replication, by the logs on the disks."""

from typing import Any

from recipes.lab.checks.check import Broken, Check, Disks, slot_of, text_of
from recipes.lab.trace import Trace


def _acknowledged_not_everywhere(trace: Trace) -> Broken | None:
    disks = Disks()
    operations: dict[int, Any] = {}
    for event in trace.events:
        disks.follow(event)
        if event["k"] == "call":
            operations[event["call"]] = event["op"]
        if event["k"] != "reply" or event["outcome"] != "ok" or operations[event["call"]][0] != "set":
            continue
        primary = event["n"]
        others = [site for site in trace.sites if site != primary]
        for site in (primary, *disks.of(primary).get("set", others)):
            entries = [value for key, value in disks.of(site).items() if slot_of(key, "log") is not None]
            if not any(entry[1] == event["call"] for entry in entries):
                return Broken(
                    event["i"],
                    f"{primary} has acknowledged call {event['call']}, which {site} does not have on disk",
                    f"{primary} 已确认调用 {event['call']}，而 {site} 的磁盘上没有它",
                )
    return None


def _logs_differ(trace: Trace) -> Broken | None:
    disks = Disks()
    first: dict[tuple[int, str], tuple[str, str, int]] = {}
    for event in trace.events:
        for site, key, value in disks.follow(event):
            index = slot_of(key, "log")
            if index is None or value is None:
                continue
            if index > 1 and f"log:{index - 1}" not in disks.of(site):
                return Broken(
                    event["i"],
                    f"{site} has entry {index} on disk without entry {index - 1}",
                    f"{site} 的磁盘上有第 {index} 条，却没有第 {index - 1} 条",
                )
            entry = text_of(value)
            before = first.setdefault((index, text_of(value[0])), (entry, site, event["i"]))
            if before[0] != entry:
                return Broken(
                    event["i"],
                    f"entry {index} is {entry} at {site} and {before[0]} at {before[1]}",
                    f"第 {index} 条在 {site} 是 {entry}，在 {before[1]} 却是 {before[0]}",
                    (before[2],),
                )
    return None


def _two_primaries(trace: Trace) -> Broken | None:
    first: dict[str, tuple[str, int]] = {}
    for event in trace.events:
        if event["k"] == "send" and event["real"] == "COPY":
            fence = text_of(event["fields"]["fence"])
            who, when = first.setdefault(fence, (event["n"], event["i"]))
            if who != event["n"]:
                return Broken(
                    event["i"],
                    f"{event['n']} writes as the primary of fence {fence}, and so does {who}",
                    f"{event['n']} 以 fence {fence} 的主节点身份写入，{who} 也是如此",
                    (when,),
                )
    return None


CHECKS = (
    Check(
        "B1",
        "what is acknowledged is on the disks of the primary and of all backups in its set",
        "已确认的写入在主节点和它集合中所有从节点的磁盘上",
        _acknowledged_not_everywhere,
    ),
    Check(
        "B2",
        "logs have no gaps, and of one fence they are the same",
        "日志没有缺口，同一 fence 的日志一致",
        _logs_differ,
    ),
    Check("B3", "one primary writes per fence", "每个 fence 只有一个主节点写入", _two_primaries),
)
