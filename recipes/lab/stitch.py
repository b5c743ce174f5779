"""Joins what the servers of an ensemble have written of themselves into one trace.

Messages are found again (matching.py), clocks aligned (clocks.py), and the events of all servers sorted by the common
time. No event comes before one that led to it (Lamport, Time, clocks, and the ordering of events in a distributed
system, 1978): where the clocks say otherwise, it is moved behind that.

A server that leaves no word of its end, and whose connections end at the others, was killed, or lost power: it is down
from the last thing that it has written. Where a file ends though its server went on, the trace ends, too: from there on
nobody knows what is on that server's disk.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, NamedTuple

from recipes.core.errors import BadArguments
from recipes.lab.casts import protocol_of
from recipes.lab.checks.registry import checked
from recipes.lab.clocks import Clock, Limits, align
from recipes.lab.ending import closed
from recipes.lab.matching import Connection, Place, connections, notifications, over_connections
from recipes.lab.parts import Life, Part
from recipes.lab.trace import VERSION, Event, Trace, settled

SCENARIO = "servers"  # what the header says in place of a scenario
_LEFT_OUT = frozenset({"i", "t", "link", "sum", "from", "role", "real", "cause"})  # of what came
_OF_PARTS = frozenset({"i", "t", "link", "sum", "cause"})
_NO_LINK = "the connection is gone"
_NEWER = "a newer one has taken its place, or the connection was gone"


class Stitched(NamedTuple):
    """A trace of all servers, and what there is to say about it, in sentences."""

    trace: Trace
    said: list[str]


@dataclass
class _Node:
    """An event that is to be placed. at_us: when it was, by the clocks.

    after: the nodes that must come before it. sent: where a message was sent that came, or is lost. cause: what led to
    it.
    """

    site: str
    at_us: float
    event: Event
    after: list[int] = field(default_factory=list)
    sent: int | None = None
    cause: int | None = None


def stitch(parts: Sequence[Part]) -> Stitched:
    """One trace of these. Raises BadArguments if they are not of one run of one ensemble."""
    header = _common_header(parts)
    lives = [life for part in sorted(parts, key=lambda each: each.site) for life in part.lives]
    if not lives:
        raise BadArguments("", "no server has written anything")
    found = list(connections(lives, [part.site for part in parts]))
    matched = over_connections(found)
    clocks, said = _clocks(lives, matched)

    def at_us(life: int, own_us: int) -> float:
        return clocks[life].at(own_us)

    matched |= notifications(lives, at_us)
    _check_that_they_met(lives, matched)
    nodes = _Nodes(lives, clocks, matched)
    ended = nodes.end_lives(found)
    nodes.lose(found)
    events, unknown, moved_us = nodes.placed(ended)
    if moved_us > 0:
        said.append(
            f"some events are moved, by up to {moved_us / 1000:.3f} ms: by the clocks they came before their cause"
        )
    missing = [site for site in header["sites"] if site not in {part.site for part in parts}]
    torn = _lacking(lives)
    unseen = sorted({*missing, *unknown, *torn})
    for site in missing:
        said.append(f"there is no trace of {site}")
    for site, count in sorted(unknown.items()):
        if site not in missing:
            said.append(f"{count} messages of {site} are in no file: it ran without a trace then")
    for site in torn:
        said.append(f"the file of {site} lacks the end of a life: at its next start the disk had more than was written")
    trace = settled({**header, "unseen": unseen, "began_us": nodes.began_us}, events)
    if not nodes.cut_at:
        verdict, unchecked = checked(trace)
        return Stitched(closed(trace, {name: verdict[name] for name in verdict if name not in unchecked}), said)
    said += [f"the trace ends early: where that of {site} does" for site in nodes.cut_at]
    return Stitched(trace, said)


def _common_header(parts: Sequence[Part]) -> dict[str, Any]:
    first = parts[0].header
    protocol_of(first["protocol"])
    sites: set[str] = set()
    for part in parts:
        for key, what in (("protocol", "protocols"), ("sites", "lists of servers")):
            if part.header[key] != first[key]:
                raise BadArguments(
                    "", f"{parts[0].site} and {part.site} have different {what}: these are not traces of one ensemble"
                )
        if part.site in sites:
            raise BadArguments("", f"two files are traces of {part.site}")
        sites.add(part.site)
    return {
        "version": VERSION, "scenario": SCENARIO, "protocol": first["protocol"], "mode": "served", "seed": 0,
        "sites": first["sites"], "settings": first["settings"], "plant": None,
    }  # fmt: skip


def _clocks(lives: Sequence[Life], matched: Mapping[Place, Place]) -> tuple[list[Clock], list[str]]:
    """The clock of each life, and what is to be said of them."""
    limits: dict[tuple[int, int], Limits] = {}
    for (to, received), (sender, sent) in matched.items():
        left_us, came_us = lives[sender].events[sent]["t"], lives[to].events[received]["t"]
        if sender < to:
            limits.setdefault((sender, to), Limits()).most.append((left_us, came_us - left_us))
        else:
            limits.setdefault((to, sender), Limits()).least.append((came_us, left_us - came_us))
    heard = Counter(life for place in matched.items() for life, _ in place)
    first = max(range(len(lives)), key=lambda life: (heard[life], -life))
    found, off_us = align(len(lives), limits, first)
    clocks: list[Clock] = []
    said: list[str] = []
    for number, life in enumerate(lives):
        clock = found[number]
        if clock is None:  # as in another life of this server, or as it says itself
            same = [other for at, other in enumerate(found) if other is not None and lives[at].site == life.site]
            clock = same[-1] if same else Clock(0, 0, 1.0)
        elif number != first:
            begins = life.events[0]["t"]
            ahead_ms, ppm = (begins - clock.at(begins)) / 1000, (1 / clock.rate - 1) * 1e6
            rate = f", and {abs(ppm):.0f} µs in a second too {'fast' if ppm > 0 else 'slow'}" if round(ppm) else ""
            said.append(
                f"the clock of {life.site} was {abs(ahead_ms):.3f} ms {'ahead of' if ahead_ms > 0 else 'behind'} that "
                f"of {lives[first].site}, known to {off_us[number] / 1000:.3f} ms{rate}"
            )
        clocks.append(clock)
    return clocks, said


def _check_that_they_met(lives: Sequence[Life], matched: Mapping[Place, Place]) -> None:
    """Raises BadArguments if a server and the others have heard each other, and nothing of that is in any file."""
    heard: Counter[str] = Counter()
    known: Counter[str] = Counter()
    sites = {life.site for life in lives}
    for number, life in enumerate(lives):
        for event in life.events:
            if event["k"] == "deliver" and event["from"] in sites:
                for site in (life.site, event["from"]):
                    heard[site] += 1
                    known[site] += (number, event["i"]) in matched
    for site, count in heard.items():
        if not known[site]:
            raise BadArguments(
                "", f"{site} and the others have got {count} messages from each other, and none of them is in the file "
                "of the one that sent it: these are not traces of one run"
            )  # fmt: skip


def _lacking(lives: Sequence[Life]) -> list[str]:
    """The servers whose files have lost lines before a start.

    A power cut takes the end of a file, which nobody syncs, and leaves what the server has synced of its log. A life
    with an end has all of its lines.
    """
    sites: set[str] = set()
    held: dict[str, set[tuple[str, str]]] = {}  # whatever has been on the disk of a server: keys, and values as texts
    for before, life in zip([None, *lives], lives, strict=False):
        began = life.events[0]
        found = began["stored"].items() if began["k"] == "start" else ()
        stored = {(what, str(value)) for what, value in found if what != "base"}
        if before is not None and before.site == life.site and before.end is None and not stored <= held[life.site]:
            sites.add(life.site)
        wrote = {(event["what"], str(event.get("value"))) for event in life.events if event["k"] == "write"}
        held.setdefault(life.site, set()).update(stored | wrote)
    return sorted(sites)


class _Nodes:
    """All events on their way to their places. began_us: the time of day of the first. cut_at: whose end is the
    trace's."""

    def __init__(self, lives: Sequence[Life], clocks: Sequence[Clock], matched: Mapping[Place, Place]) -> None:
        self.began_us: int = 0
        self.cut_at: list[str] = []
        self._lives = lives
        self._matched = matched
        self._nodes: list[_Node] = []
        self._at: dict[Place, int] = {}
        self._last: dict[int, int] = {}  # of each life
        self._ups: list[tuple[str, float, float]] = []  # site, and from when to when it ran
        before: dict[str, int] = {}
        for number, life in enumerate(lives):
            for event in life.events:
                node = _Node(life.site, clocks[number].at(event["t"]), event)
                if life.site in before:
                    node.after.append(before[life.site])
                if "cause" in event:
                    node.cause = self._at[number, event["cause"]]
                before[life.site] = self._at[number, event["i"]] = self._add(node)
            self._last[number] = before[life.site]
        for place, sent in matched.items():
            node = self._nodes[self._at[place]]
            node.sent = self._at[sent]
            node.after.append(self._at[sent])
        for number, life in enumerate(lives):
            self._ups.append(
                (life.site, self._node(number, life.events[0]).at_us, self._nodes[self._last[number]].at_us)
            )

    def end_lives(self, found: Sequence[Connection]) -> set[int]:
        """Say where servers went down. Returns the nodes at which a file ends though its server went on."""
        lives, going_on = self._lives, set[int]()
        witnessed = {
            end.life
            for one, other in found if other is not None
            for end, far in ((one, other), (other, one))
            if far.gone is not None and end.gone is None and len(far.received) <= len(end.sent)
        }  # fmt: skip
        for number, life in enumerate(lives):
            last = self._last[number]
            is_last = number + 1 == len(lives) or lives[number + 1].site != life.site
            down = life.end["down"] if life.end is not None else not is_last or number in witnessed
            if not down:
                going_on.add(last)
                self._put_behind(last, number)
                continue
            at_us = self._nodes[last].at_us
            why = {} if life.end is None else {"why": life.end["why"]}
            crash = self._add(_Node(life.site, at_us, {"k": "crash", **why}, [last]))
            if not is_last:
                self._nodes[self._at[number + 1, 0]].after.append(crash)
            self._last[number] = crash
        return going_on

    def _put_behind(self, last: int, life: int) -> None:
        """What others have got from a server that is not in its file, and behind what is, came behind its end."""
        site = self._lives[life].site
        for number, other in enumerate(self._lives):
            met = False
            for event in other.events:
                if event["k"] == "deliver" and event["from"] == site:
                    sent = self._matched.get((number, event["i"]))
                    met |= sent is not None and sent[0] == life
                    if met and sent is None:
                        self._node(number, event).after.append(last)

    def lose(self, found: Sequence[Connection]) -> None:
        """Say which messages did not arrive, where that is certain."""
        arrived = set(self._matched.values())
        known = {life.site for life in self._lives}
        for one, other in found:
            for end, far in ((one, other), (other, one)):
                if end is None or end.peer not in known:
                    continue
                seen = far if far is not None else end  # the other server may never have seen this connection
                gone = self._nodes[self._last[seen.life]] if seen.gone is None else self._node(seen.life, seen.gone)
                if seen.gone is None and (far is None or gone.event["k"] != "crash"):
                    continue
                for sent in end.sent[0 if far is None else len(far.received) :]:
                    self._lost(end.life, sent, gone.at_us, _NO_LINK if seen.gone is not None else "down")
        for number, life in enumerate(self._lives):
            for event in life.events:
                if event["k"] == "send" and event["link"] == 0 and event["to"] in known:
                    if (number, event["i"]) not in arrived:
                        at_us = self._node(number, event).at_us
                        up = any(site == event["to"] and begin <= at_us <= end for site, begin, end in self._ups)
                        self._lost(number, event, at_us, _NEWER if up else "down")

    def _lost(self, life: int, sent: Event, at_us: float, why: str) -> None:
        node = self._at[life, sent["i"]]
        self._add(_Node(sent["to"], at_us, {"k": "lost", "why": why}, [node], sent=node))

    def placed(self, going_on: set[int]) -> tuple[list[Event], Counter[str], float]:
        """The events in order, up to where a file ends though its server went on; how many messages came that nobody
        is known to have sent, by their sender; and how far an event was moved at most."""
        numbers: dict[int, int] = {}
        events: list[Event] = []
        unknown: Counter[str] = Counter()
        moved_us = 0.0
        origin_us = min(node.at_us for node in self._nodes)
        self.began_us = round(origin_us)
        for placed, (at, time_us) in enumerate(self._in_order(), 1):
            node = self._nodes[at]
            if at in going_on and placed < len(self._nodes):
                self.cut_at.append(node.site)
            kind = node.event["k"]
            if kind == "deliver" and node.sent is None:
                unknown[node.event["from"]] += 1
            elif kind != "gone":
                if kind != "lost":  # of which nobody knows when
                    moved_us = max(moved_us, time_us - node.at_us - 1)
                numbers[at] = len(events)
                events.append(self._event(node, len(events), round(time_us - origin_us), numbers))
            if self.cut_at:
                break
        return events, unknown, moved_us

    def _event(self, node: _Node, number: int, time_us: int, numbers: Mapping[int, int]) -> Event:
        came = node.event["k"] in ("deliver", "lost")
        more = {key: value for key, value in node.event.items() if key not in (_LEFT_OUT if came else _OF_PARTS)}
        event = {"i": number, "t": time_us, "n": node.site, **more}
        if node.sent is not None:
            event["id"] = numbers[node.sent]
        elif node.event["k"] == "send":
            event["id"] = number
        if node.cause is not None and node.cause in numbers:
            event["cause"] = numbers[node.cause]
        return event

    def _in_order(self) -> Iterator[tuple[int, float]]:
        """The nodes and their times: each behind those that it must come after."""
        left = [len(node.after) for node in self._nodes]
        behind: list[list[int]] = [[] for _ in self._nodes]
        for at, node in enumerate(self._nodes):
            for before in node.after:
                behind[before].append(at)
        times = [node.at_us for node in self._nodes]
        ready: list[tuple[float, int]] = []
        for at, count in enumerate(left):
            if not count:
                heappush(ready, (times[at], at))
        placed = 0
        while ready:
            time_us, at = heappop(ready)
            placed += 1
            yield at, time_us
            for other in behind[at]:
                is_message = self._nodes[other].sent == at
                times[other] = max(times[other], time_us + is_message)
                left[other] -= 1
                if not left[other]:
                    heappush(ready, (times[other], other))
        if placed < len(self._nodes):
            raise BadArguments("", "the files contradict each other: two messages each came before the other was sent")

    def _node(self, life: int, event: Event) -> _Node:
        return self._nodes[self._at[life, event["i"]]]

    def _add(self, node: _Node) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1
