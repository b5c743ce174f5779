"""A6: one order of the calls explains all that clients were told of each register, and each call is in it between its
request and its answer.

Where each value is written once, its zone decides (Gibbons and Korach, Testing Shared Memories, 1997). Else all orders
are searched, with a memory of what was tried (Wing and Gong, Testing and Verifying Concurrent Objects, 1993; Lowe,
Testing for Linearizability, 2017). This knows nothing of zxids, ballots or logs: only what clients asked for, when, and
what they were told. A write without an answer may have happened at any later time, or never.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from recipes.lab.casts import protocol_of
from recipes.lab.checks.check import Broken, Check, text_of
from recipes.lab.checks.replicated import sync_stale
from recipes.lab.trace import Event, Trace

MOST_STATES = 200_000  # of a search; a history that needs more is not decided, and counts as one that fits
_NEVER = 1 << 60
_ANY = ""  # what a register has at first where the trace does not say it; no value is written so: all are JSON
_MISSING = text_of(None)


class Operation(NamedTuple):
    """One call, as its client saw it.

    begins, ends: events; `ends` is _NEVER without an answer. value: that is written, or was read, as JSON.
    """

    call: int
    client: str
    is_write: bool
    value: str
    begins: int
    ends: int


def history_without_order(trace: Trace) -> Broken | None:
    """The first answer that no order explains."""
    for key, operations in sorted(registers(trace).items()):
        first = _ANY if protocol_of(trace.protocol).served else _MISSING
        if fits_one_order(operations, first):
            continue
        answers = sorted(each.ends for each in operations if each.ends != _NEVER)
        low, high = 0, len(answers) - 1  # a history that fits one order does so at each of its moments
        while low < high:
            middle = (low + high) // 2
            if fits_one_order(list(_until(operations, answers[middle])), first):
                low = middle + 1
            else:
                high = middle
        last = next(each for each in operations if each.ends == answers[low])
        return _broken(key, last, [each for each in operations if each.begins < last.ends])
    return None


def _broken(key: str, last: Operation, before: list[Operation]) -> Broken:
    did = f"writes {last.value}" if last.is_write else f"reads {last.value}"
    did_zh = f"写入 {last.value}" if last.is_write else f"读到 {last.value}"
    written = [each for each in before if each.is_write and each.ends < last.begins]
    newest = max(written, key=lambda each: each.ends, default=None)
    so_far = f"; {newest.value} of call {newest.call} was acknowledged before it began" if newest else ""
    so_far_zh = f"；在它开始之前，调用 {newest.call} 的 {newest.value} 已确认" if newest else ""
    return Broken(
        last.ends,
        f"call {last.call} of {last.client} {did} at {key}: no order of the {len(before)} calls explains that{so_far}",
        f"{last.client} 的调用 {last.call} 在 {key} {did_zh}，{len(before)} 个调用的任何顺序都无法解释{so_far_zh}",
        tuple(sorted({last.begins, *((newest.begins, newest.ends) if newest else ())})),
    )


def fits_one_order(operations: Iterable[Operation], first: str) -> bool:
    """Whether the calls fit one order. first: what the register has before all of them."""
    calls = sorted(_that_matter(operations), key=lambda each: each.begins)
    written = [each.value for each in calls if each.is_write]
    if len({*written, first}) == len(written) + 1:
        return _zones_fit(calls, first)
    return _is_found(calls, first)


def _zones_fit(calls: Sequence[Operation], first: str) -> bool:
    """The same where each value is written once. Then a value is that of the register for one stretch of the order, and
    its zone is what the stretch must have at least: from the first answer to the last request of its calls. If all its
    calls overlap, it has no such stretch, and only needs a place somewhere between."""
    writes = {each.value: each for each in calls if each.is_write}
    groups: dict[str, list[Operation]] = {value: [each] for value, each in writes.items()}
    begin = Operation(0, "", True, first, -1, -1)
    unwritten = {each.value for each in calls} - writes.keys()
    if unwritten - {first} and (first != _ANY or len(unwritten) > 1):
        return False
    for each in calls:
        if not each.is_write:
            groups.setdefault(each.value, [begin]).append(each)
            if each.value in writes and each.ends < writes[each.value].begins:
                return False
    stretches: list[tuple[int, int]] = []
    places: list[tuple[int, int]] = []
    for group in groups.values():
        answered, asked = min(each.ends for each in group), max(each.begins for each in group)
        (stretches if answered < asked else places).append((min(answered, asked), max(answered, asked)))
    stretches.sort()
    if any(later[0] < earlier[1] for earlier, later in pairwise(stretches)):
        return False
    starts = [stretch[0] for stretch in stretches]
    inside = ((stretches[bisect_right(starts, place[0]) - 1], place) for place in places if starts)
    return not any(stretch[0] < place[0] and place[1] < stretch[1] for stretch, place in inside)


def _is_found(calls: Sequence[Operation], first: str) -> bool:
    """The same by a search of all orders."""
    begins = [each.begins for each in calls]
    everything = (1 << len(calls)) - 1
    must = sum(1 << at for at, each in enumerate(calls) if each.ends != _NEVER)
    stack = [(0, first)]
    tried = {(0, first)}
    while stack:
        done, value = stack.pop()
        if done & must == must or len(tried) > MOST_STATES:
            return True
        left = everything & ~done
        start = (left & -left).bit_length() - 1
        # Whatever comes next has begun before the first of all others was answered.
        limit = min(each.ends for at, each in enumerate(calls[start:], start) if not done >> at & 1)
        for at in reversed(range(start, bisect_right(begins, limit))):
            each = calls[at]
            if done >> at & 1 or not (each.is_write or value in (each.value, _ANY)):
                continue
            state = (done | 1 << at, each.value)
            if state not in tried:
                tried.add(state)
                stack.append(state)
    return False


def _that_matter(operations: Iterable[Operation]) -> list[Operation]:
    """All but the writes without an answer whose value nobody has read: they may never have happened."""
    found = list(operations)
    read = {each.value for each in found if not each.is_write}
    return [each for each in found if each.ends != _NEVER or (each.is_write and each.value in read)]


def _until(operations: Iterable[Operation], event: int) -> Iterator[Operation]:
    """The history as it is at an event."""
    for each in operations:
        if each.begins < event:
            yield each if each.ends <= event else each._replace(ends=_NEVER)


def registers(trace: Trace) -> dict[str, list[Operation]]:
    """The calls of each register that must fit one order: all writes, and the reads that claim to be the newest.

    A server that is one of ours reads from its own tree, which may be old; behind a `sync` it may not. So such a read
    counts from the beginning of the sync right before it. Registers that end with a session are left out.
    """
    served = protocol_of(trace.protocol).served
    calls = {event["call"]: event for event in trace.events if event["k"] == "call"}
    replies = {event["call"]: event for event in trace.events if event["k"] == "reply"}
    before: dict[str, Event] = {}  # of each client: its call before
    found: dict[str, list[Operation]] = {}
    left_out: set[str] = set()
    for number, call in calls.items():
        operation, reply = call["op"], replies.get(number)
        previous, before[call["client"]] = before.get(call["client"]), call
        if len(operation) < 2:
            continue
        key = f"/{str(operation[1]).removeprefix('/')}" if served else str(operation[1])
        if operation[0] == "create" and not served:
            continue
        if operation[0] == "create" and len(operation) > 3 and operation[3] != "persistent":
            left_out.add(key)
        outcome = reply["outcome"] if reply else "unknown"
        ends = reply["i"] if reply and outcome != "unknown" else _NEVER
        if operation[0] in ("set", "create", "delete"):
            if outcome != "fail":
                value = None if operation[0] == "delete" else str(operation[2]) if served else operation[2]
                write = Operation(number, call["client"], True, text_of(value), call["i"], ends)
                found.setdefault(key, []).append(write)
        elif operation[0] == "get" and reply and (outcome == "ok" or reply.get("value") == "NoNode"):
            begins = _begin_of_read(call, previous, replies) if served else call["i"]
            if begins is not None:
                value = reply["value"] if outcome == "ok" else None
                read = Operation(number, call["client"], False, text_of(value), begins, reply["i"])
                found.setdefault(key, []).append(read)
    return {key: operations for key, operations in found.items() if key not in left_out}


def _begin_of_read(read: Event, previous: Event | None, replies: dict[int, Any]) -> int | None:
    """Where the sync right before a read, at the same server, began; None if there was none that was answered."""
    if previous is None or previous["op"][0] != "sync" or previous["n"] != read["n"]:
        return None
    reply = replies.get(previous["call"])
    begins: int = previous["i"]
    return begins if reply is not None and reply["outcome"] == "ok" else None


def _told_in_no_order(trace: Trace) -> Broken | None:
    return sync_stale(trace) or history_without_order(trace)


CHECKS = (
    Check(
        "A6",
        "one order explains what clients are told of writes and of the newest values, and a sync misses nothing",
        "客户端得到的关于写入和最新值的应答符合同一个顺序，sync 不遗漏任何已确认的内容",
        _told_in_no_order,
    ),
)
