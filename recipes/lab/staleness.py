"""How old what clients read was: from what they asked for and were told, without a word of the protocol."""

from recipes.lab.trace import Event, Trace

_WRITES, _READS = frozenset({"set", "create", "write"}), frozenset({"get", "read"})


def oldest_stale_ms(trace: Trace) -> float:
    """The oldest value that a client has read, in virtual ms since another one took its place; 0.0 if none was stale.

    A value is stale if a write that began behind its own write was acknowledged before the read began.
    """
    calls = {event["call"]: event for event in trace.events if event["k"] == "call" and len(event["op"]) > 1}
    replies = {event["call"]: event for event in trace.events if event["k"] == "reply" and event["outcome"] == "ok"}
    writes: dict[str, list[tuple[Event, Event]]] = {}  # of each key: calls and answers, in order of the answers
    for number, reply in replies.items():
        if number in calls and calls[number]["op"][0] in _WRITES and len(calls[number]["op"]) > 2:
            writes.setdefault(_key(calls[number]), []).append((calls[number], reply))
    worst = 0
    for number, reply in replies.items():
        if number not in calls or calls[number]["op"][0] not in _READS:
            continue
        read, key = calls[number], _key(calls[number])
        known, before = writes.get(key, []), [call for call in calls.values() if call["i"] < reply["i"]]
        own = [call for call in before if _writes(call, key, reply.get("value"))]
        answered = [replies[call["call"]]["i"] if call["call"] in replies else reply["i"] for call in own]
        since = max(answered, default=-1)  # when its own write was acknowledged; before all else if nobody wrote it
        newer = [done["t"] for call, done in known if call["i"] > since and done["i"] < read["i"]]
        if newer:
            worst = max(worst, reply["t"] - min(newer))
    return round(worst / 1000, 3)


def _key(call: Event) -> str:
    return str(call["op"][1]).removeprefix("/")


def _writes(call: Event, key: str, value: object) -> bool:
    operation = call["op"]
    return operation[0] in _WRITES and len(operation) > 2 and _key(call) == key and str(operation[2]) == str(value)
