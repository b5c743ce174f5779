"""The logs of servers, followed event by event: what each disk holds, in the order of the zxids.

A key "log:0x100000002" of a disk is one entry, "base" the zxid up to which a snapshot stands in for entries.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, NamedTuple

from recipes.lab.checks.check import Disks, Stored
from recipes.lab.expectations import follow_state
from recipes.lab.trace import Event, Trace


def zxid_of(text: Any) -> int:
    """The number of a zxid; -1 for "none" and all else."""
    return int(text, 16) if isinstance(text, str) and text.startswith("0x") else -1


def epoch_of(zxid: int) -> int:
    """The epoch or term of an entry."""
    return zxid >> 32


def text_of_zxid(zxid: int) -> str:
    """A zxid as traces have it."""
    return f"0x{zxid:x}"


class Log:
    """What one disk holds for certain. base: entries up to here are in a snapshot. entries: zxid -> what it does."""

    def __init__(self) -> None:
        self.base: int = 0
        self.entries: dict[int, Any] = {}
        self.order: list[int] = []

    def has(self, zxid: int) -> bool:
        """Whether an entry is there, itself or in a snapshot."""
        return zxid in self.entries or zxid <= self.base

    def before(self, zxid: int) -> int:
        """The entry before one; the base where that is the first."""
        at = bisect_left(self.order, zxid)
        return self.order[at - 1] if at else self.base

    def between(self, low: int, high: int) -> list[int]:
        """The entries behind `low`, up to `high`."""
        return [zxid for zxid in self.order if low < zxid <= high]

    @property
    def last(self) -> int:
        """Where the log ends."""
        return self.order[-1] if self.order else self.base

    def put(self, key: str, value: Any) -> None:
        """One key of the disk has a new value."""
        if key == "base":
            self.base = max(0, zxid_of(value))
            return
        zxid = zxid_of(key.partition(":")[2])
        if value is None:
            if self.entries.pop(zxid, None) is not None:
                self.order.remove(zxid)
        else:
            if zxid not in self.entries:
                insort(self.order, zxid)
            self.entries[zxid] = value


class Moment(NamedTuple):
    """One event, with what became durable by it."""

    event: Event
    stored: list[Stored]


class Histories:
    """All disks and states of a run of servers. voters: the sites that count. committed: as far as anybody has said."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.voters: list[str] = trace.of_kind("server")
        self.majority: int = len(self.voters) // 2 + 1
        self.disks: Disks = Disks()
        self.logs: dict[str, Log] = {}
        self.states: dict[str, dict[str, Any]] = {}

    def moments(self) -> Iterator[Moment]:
        """The events, in order; logs and states are as they are after each."""
        for event in self._trace.events:
            stored = self.disks.follow(event)
            if event["k"] == "start":
                log = self.logs[event["n"]] = Log()
                for key, value in event["stored"].items():
                    if key == "base" or key.startswith("log:"):
                        log.put(key, value)
            else:
                for site, key, value in stored:
                    if key == "base" or key.startswith("log:"):
                        self.log(site).put(key, value)
            follow_state(self.states, event)
            yield Moment(event, stored)

    def log(self, site: str) -> Log:
        """What a site's disk holds for certain."""
        return self.logs.setdefault(site, Log())

    def holders(self, zxid: int) -> list[str]:
        """The voters whose disks have an entry."""
        return [site for site in self.voters if self.log(site).has(zxid)]

    def cell(self, site: str, name: str) -> Any:
        """A cell on a site's disk."""
        return self.disks.of(site).get(name)
