"""Checks of all protocols that keep copies of one log."""

from typing import Any

from recipes.lab.checks.check import Broken, Check, text_of
from recipes.lab.trace import Trace


def _orders_differ(trace: Trace) -> Broken | None:
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


CHECKS = (Check("A2", "all copies execute one order", "所有副本按同一顺序执行", _orders_differ),)
