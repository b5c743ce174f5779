"""What a fault costs, from a trace alone: who noticed, and how long until the next write was answered.

The time without service has four parts: until somebody notices, until a leader is chosen, until it serves, and until
its first write is answered.
"""

from typing import NamedTuple

from recipes.lab.figures import HEARTBEATS, start_of
from recipes.lab.trace import Event, Trace

_FAULTS = frozenset({"crash", "power", "pause"})
_VOTES = frozenset({"vote", "vote-reply", "prepare", "promise"})
_CHOSEN = frozenset({"LEADING", "GATHERING"})  # stages in which a server takes itself for the leader


class Outage(NamedTuple):
    """Virtual times in ms after the fault. noticed_by: the first site that looked for a leader, or asked for votes.

    numbers: how many epochs, terms or ballots were begun. votes: messages of elections, up to the answer. wasted: those
    of them that were no vote for the site that was chosen, and no question of it.
    """

    noticed_by: str
    notice_ms: float
    elect_ms: float
    sync_ms: float
    write_ms: float
    total_ms: float
    numbers: int
    votes: int
    wasted: int


class Moments(NamedTuple):
    """The events that part the time without service. noticed: a site looks for a leader, or asks for votes.

    chosen: one takes itself for the leader. served: it serves. answered: the first call behind the fault is.
    """

    fault: Event
    noticed: Event
    chosen: Event
    served: Event
    answered: Event


def moments(trace: Trace) -> Moments | None:
    """What follows the first fault of a run; None if there is none, or no write is answered behind it."""
    start = start_of(trace)
    fault = next((event for event in trace.events[start:] if _is_fault(event)), None)
    if fault is None:
        return None
    later = trace.events[fault["i"] + 1 :]
    calls = {event["call"]: event["i"] for event in later if event["k"] == "call"}
    replies = [each for each in later if each["k"] == "reply" and each["outcome"] == "ok"]
    answered = next((each for each in replies if each["call"] in calls), None)
    noticed = next((event for event in later if _notices(event)), None)
    if answered is None or noticed is None:
        return None
    until = [event for event in later if event["i"] < answered["i"]]
    served = next((each for each in until if each["k"] == "state" and each.get("role") == "leader"), answered)
    chosen = next(
        (each for each in until if each["k"] == "state" and each["n"] == served["n"] and each.get("stage") in _CHOSEN),
        served,
    )
    return Moments(fault, noticed, chosen, served, answered)


def outage(trace: Trace) -> Outage | None:
    """What the first fault of a run costs; None if there is none, or no write is answered behind it."""
    found = moments(trace)
    if found is None:
        return None
    fault, noticed, chosen, served, answered = found
    until = trace.events[fault["i"] + 1 : answered["i"]]
    before = next(
        (each["number"] for each in reversed(trace.events[: fault["i"]]) if each["k"] == "state" and "number" in each),
        None,
    )
    begun = {
        str(event["number"]) for event in until if event["k"] == "state" and event.get("number") not in (None, before)
    }
    votes = [event for event in until if event["k"] == "send" and event["role"] in _VOTES]
    return Outage(
        noticed["n"],
        _ms(fault, noticed),
        _ms(noticed, chosen),
        _ms(chosen, served),
        _ms(served, answered),
        _ms(fault, answered),
        len(begun),
        len(votes),
        sum(1 for event in votes if _is_wasted(event, chosen["n"])),
    )


def _is_wasted(vote: Event, winner: str) -> bool:
    """Whether a message of an election did nothing for the winner."""
    if vote["role"] in ("vote-reply", "promise"):
        return str(vote["to"]) != winner or vote["real"] == "REFUSE"
    wanted: object = vote["fields"].get("leader", vote["n"])
    return wanted != winner


def _ms(early: Event, late: Event) -> float:
    took_us: int = late["t"] - early["t"]
    return round(took_us / 1000, 3)


def heartbeats(trace: Trace) -> dict[str, float]:
    """Heartbeats per second of virtual time, to and from the servers that lead, once they serve."""
    events = trace.events[start_of(trace) :]
    seconds = (events[-1]["t"] - events[0]["t"]) / 1_000_000 if events else 0
    count = {"heartbeat": 0, "heartbeat-reply": 0}
    for event in events:
        if event["k"] == "send" and event["role"] in HEARTBEATS:
            count[event["role"]] += 1
    return {role: round(number / seconds, 1) if seconds else 0.0 for role, number in count.items()}


def _is_fault(event: Event) -> bool:
    return event["k"] in _FAULTS or (event["k"] == "fault" and event.get("what") in ("cut", "loss"))


def _notices(event: Event) -> bool:
    if event["k"] == "state" and event.get("role") == "looking":
        return True
    return event["k"] == "send" and event["role"] in ("vote", "prepare")
