"""Runs whose servers are watched as `recipes serve --trace` watches real ones, each by its own clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from recipes.core.replication import Recovered, Replica, ReplicaSettings, ReplicationProtocol
from recipes.lab import run as runs
from recipes.lab.parts import Part, read_part
from recipes.lab.run import Outcome
from recipes.lab.scenario import Scenario
from recipes.lab.served.part import Part as Writer
from recipes.lab.served.protocols import find_served
from recipes.lab.served.watched import watched
from recipes.lab.served.world import ServedWorld

Clock = Callable[[int], int]  # what a server's clock shows at a time of the world, in µs
ROOM_BYTES = 100_000_000


class WatchedRun:
    """One run. texts: what each server has written, by sid. warned: what was to be logged."""

    def __init__(self, clocks: Mapping[int, Clock], room_bytes: Mapping[int, int] | None = None) -> None:
        self.texts: dict[int, list[bytes]] = {}
        self.warned: list[str] = []
        self.outcome: Outcome
        self._clocks = clocks
        self._room_bytes = room_bytes or {}
        self._world: ServedWorld
        self._writers: dict[int, Writer] = {}

    def run(self, scenario: Scenario, monkeypatch: pytest.MonkeyPatch, **more: Any) -> WatchedRun:
        run = self

        class World(ServedWorld):
            def __init__(self, *arguments: Any) -> None:
                run._world = self
                super().__init__(*arguments)

        def found(name: str) -> Any:
            served = find_served(name)
            return served._replace(make=lambda *options: self._watching(served.make(*options), name))

        monkeypatch.setattr(runs, "ServedWorld", World)
        monkeypatch.setattr(runs, "find_served", found)
        self.outcome = runs.run(scenario, **more)
        return self

    def stop(self) -> WatchedRun:
        """All servers that run are told to stop."""
        for sid, writer in self._writers.items():
            if self._world.site_of(sid).running:
                writer.guarded(writer.close, "stopped")
        return self

    def text(self, sid: int) -> str:
        return b"".join(self.texts[sid]).decode()

    def parts(self) -> list[Part]:
        return [read_part(self.text(sid)) for sid in sorted(self.texts)]

    def _watching(self, made: ReplicationProtocol, name: str) -> ReplicationProtocol:
        def start(settings: ReplicaSettings, found: Recovered, now_ms: int) -> Replica:
            sid = settings.sid
            lines = self.texts.setdefault(sid, [])
            room_bytes = self._room_bytes.get(sid, ROOM_BYTES) - sum(map(len, lines))
            clock = self._clocks.get(sid, lambda now_us: now_us)
            part = Writer(
                find_served(name), lambda: clock(self._world.timeline.now_us), lines.append, room_bytes,
                self.warned.append,
            )  # fmt: skip
            self._writers[sid] = part
            node = self._world.site_of(sid).node
            replica = watched(made, part).start(settings, found, now_ms)
            part.tree = lambda: node.member.tree
            return replica

        return made._replace(start=start)
