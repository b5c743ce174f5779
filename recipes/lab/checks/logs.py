"""Checks of all protocols that keep copies of one log."""

from typing import Any

from recipes.lab.casts import protocol_of
from recipes.lab.checks.check import Broken, Check, text_of
from recipes.lab.checks.paxos import chosen_in
from recipes.lab.checks.replicated import acknowledged_not_on_majority, trees_differ
from recipes.lab.trace import Trace


def _orders_differ(trace: Trace) -> Broken | None:
    return trees_differ(trace) if protocol_of(trace.protocol).served else _executed_differ(trace)


def _executed_differ(trace: Trace) -> Broken | None:
    longest: list[Any] = []
    by = ("", -1)
    for event in trace.events:
        executed = event.get("executed") if event["k"] == "state" else None
        if executed is None:
            continue
        shared = min(len(executed), len(longest))
        for index in range(shared):
            if executed[index] != longest[index]:
                one, other = text_of(longest[index]), text_of(executed[index])
                return Broken(
                    event["i"],
                    f"number {index + 1} is {other} at {event['n']} and {one} at {by[0]}",
                    f"第 {index + 1} 条在 {event['n']} 是 {other}，在 {by[0]} 却是 {one}",
                    (by[1],),
                )
        if len(executed) > len(longest):
            longest, by = executed, (event["n"], event["i"])
    return None


def _acknowledged_too_early(trace: Trace) -> Broken | None:
    served = protocol_of(trace.protocol).served
    return acknowledged_not_on_majority(trace) if served else _acknowledged_not_chosen(trace)


def _acknowledged_not_chosen(trace: Trace) -> Broken | None:
    chosen: dict[int, int] = {}
    for each in chosen_in(trace):
        chosen.setdefault(each.value[0], each.event)
    for event in trace.events:
        if event["k"] == "reply" and event["outcome"] == "ok":
            when = chosen.get(event["call"])
            if when is None or when > event["i"]:
                return Broken(
                    event["i"],
                    f"{event['n']} has acknowledged call {event['call']}, which no majority has on disk",
                    f"{event['n']} 已确认调用 {event['call']}，但还没有多数派把它写入磁盘",
                )
    return None


CHECKS = (
    Check("A2", "all copies execute one order", "所有副本按同一顺序执行", _orders_differ),
    Check(
        "A4",
        "what is acknowledged is on the disks of a majority",
        "已确认的操作都在多数派的磁盘上",
        _acknowledged_too_early,
    ),
)
