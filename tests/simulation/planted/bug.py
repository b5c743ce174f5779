"""What a planted bug is, and how one is patched in."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from recipes.core.replication import Entry, Ready

Patch = pytest.MonkeyPatch


class Planted(NamedTuple):
    """One bug. plant: patches it in. seed: of a run that finds it, where one is known; breaks: by which property."""

    name: str
    plant: Callable[[Patch], None]
    seed: int | None
    breaks: str
    servers: int = 3
    observers: int = 0
    kinds: tuple[str, ...] = ()


PLANTED: list[Planted] = []
PLANTED_IN_RAFT: list[Planted] = []
PLANTED_IN_PAXOS: list[Planted] = []
PLANTED_IN_PRIMARY_BACKUP: list[Planted] = []


def planted(
    seed: int | None,
    breaks: str,
    servers: int = 3,
    observers: int = 0,
    kinds: tuple[str, ...] = (),
    where: list[Planted] = PLANTED,
) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    def add(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        where.append(Planted(plant.__name__, plant, seed, breaks, servers, observers, kinds))
        return plant

    return add


def before(patch: Patch, owner: Any, name: str, extra: Callable[..., object]) -> None:
    """Do something more at the beginning of a method."""
    original = getattr(owner, name)

    def both(self: Any, *args: Any) -> Any:
        extra(self, *args)
        return original(self, *args)

    patch.setattr(owner, name, both)


def behind(patch: Patch, owner: Any, name: str, extra: Callable[..., object]) -> None:
    """Do something more at the end of a method."""
    original = getattr(owner, name)

    def both(self: Any, *args: Any) -> Any:
        result = original(self, *args)
        extra(self, *args)
        return result

    patch.setattr(owner, name, both)


def applies_last_only(patch: Patch, owner: Any) -> None:
    """Of several entries that are committed at once only the last one gets to the Member."""
    original = owner.take_ready

    def take_ready(self: Any) -> Ready:
        ready: Ready = original(self)
        entries = [each for each in ready.commits if isinstance(each, Entry)]
        if self.serving:
            ready.commits = [each for each in ready.commits if each is entries[-1] or not isinstance(each, Entry)]
        return ready

    patch.setattr(owner, "take_ready", take_ready)
