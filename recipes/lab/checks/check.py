"""What a check is: a pure function of a trace that names the first event at which a property broke, and why.

Checks compare with disks and messages, not with what the sites say of themselves.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from recipes.lab.trace import Event, Trace

_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


class Broken(NamedTuple):
    """Where a property broke. why, why_zh: a sentence with site and values. evidence: numbers of other events."""

    event: int
    why: str
    why_zh: str
    evidence: tuple[int, ...] = ()


class Check(NamedTuple):
    """A property. says, says_zh: what holds. find: the first violation in a trace, None if it holds."""

    name: str
    says: str
    says_zh: str
    find: Callable[[Trace], Broken | None]


class Stored(NamedTuple):
    """A value has become durable. value: None if the key was removed."""

    site: str
    key: str
    value: Any


class Disks:
    """The disks of a run, followed event by event.

    durable: by site, what survives a power cut. written: what the site has written, durable or not.
    """

    def __init__(self) -> None:
        self.durable: dict[str, dict[str, Any]] = {}
        self._pending: dict[str, list[tuple[int, str, Any]]] = {}

    def follow(self, event: Event) -> list[Stored]:
        """Take in one event; returns what became durable by it."""
        site, kind = event["n"], event["k"]
        if kind == "write":
            self._pending.setdefault(site, []).append((event["number"], event["what"], event.get("value")))
        elif kind == "fsync" and event["at"] == "end":
            return self._settle(site, event["number"])
        elif kind == "start":
            return self._restart(site, event["stored"])
        return []

    def of(self, site: str) -> dict[str, Any]:
        """What is durable at this site."""
        return self.durable.setdefault(site, {})

    def pending(self, site: str) -> list[tuple[str, Any]]:
        """What this site has written and not synced, in order; None if the key is removed."""
        return [(key, value) for _, key, value in self._pending.get(site, [])]

    def _settle(self, site: str, number: int) -> list[Stored]:
        pending = self._pending.get(site, [])
        durable = [each for each in pending if each[0] <= number]
        self._pending[site] = pending[len(durable) :]
        for _, key, value in durable:
            self._put(site, key, value)
        return [Stored(site, key, value) for _, key, value in durable]

    def _restart(self, site: str, stored: dict[str, Any]) -> list[Stored]:
        """A site has started: of the writes without a sync its disk may have kept some."""
        before = self.of(site)
        changed = [Stored(site, key, value) for key, value in stored.items() if before.get(key) != value]
        changed += [Stored(site, key, None) for key in before if key not in stored]
        self.durable[site] = dict(stored)
        self._pending[site] = []
        return changed

    def _put(self, site: str, key: str, value: Any) -> None:
        if value is None:
            self.of(site).pop(key, None)
        else:
            self.of(site)[key] = value


def text_of(value: Any) -> str:
    """A value in a sentence, and as a key: values of traces may be lists."""
    return _encode(value)


def slot_of(key: str, what: str) -> int | None:
    """The slot in a key such as "accepted:3"; None if the key is about something else."""
    name, _, digits = key.partition(":")
    return int(digits) if name == what and digits else None
