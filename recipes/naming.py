"""How the znodes in a line are named: by us, by kazoo, by Curator. The rule of who holds is the same for all.

A marker stands between the id of a znode's name and its number. It says what the owner asks for, and by whose names.

Sources: kazoo 2.11, recipe/lock.py; Curator 5.4, LockInternals, StandardLockInternalsDriver, InterProcessReadWriteLock,
LeaderSelector and LeaderLatch.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Literal, NamedTuple, get_args
from uuid import UUID

from recipes.core.errors import BadArguments

Naming = Literal["native", "kazoo", "curator"]
ElectionNaming = Literal["native", "kazoo", "curator", "curator-latch"]

MARKERS: dict[str, dict[str, str]] = {
    "native": {"lock": "lock-", "read": "read-", "write": "write-", "lead": "lead-"},
    # A writer's znode is that of a lock, and an Election of kazoo is its Lock.
    "kazoo": {"lock": "__lock__", "read": "__rlock__", "write": "__lock__", "lead": "__lock__"},
    "curator": {"lock": "-lock-", "read": "-__READ__", "write": "-__WRIT__", "lead": "-lock-"},  # lead: LeaderSelector
    "curator-latch": {"lead": "-latch-"},
}
# Those at one path that stand in one line, so that none of them overlooks another.
LINES = (
    ("lock-", "read-", "write-", "permits-"),
    ("__lock__", "__rlock__"),
    ("-lock-", "-__READ__", "-__WRIT__"),
)

_NUMBER = "(-?[0-9]{9,10})"  # a sign counts among the ten places
_THEIRS = re.compile(
    r"(?:_c_)?(?P<id>.*?)-?(?P<marker>__(?:r?lock|lease|READ|WRIT)__|(?:lock|lease|latch)-)" + _NUMBER, re.DOTALL
)
_KINDS = {
    "__lock__": "lock",
    "__rlock__": "read",
    "__READ__": "read",
    "__WRIT__": "write",
    "lock-": "lock",
    "latch-": "lead",
    "lease-": "permits",
    "__lease__": "permits",
}
_ASKED = b"\0asked to give it up"  # behind the data of a znode whose owner has been asked to
_CURATOR_ASKED = b"__REVOKE__"  # instead of them, as Curator's Revoker writes it


class Leases(NamedTuple):
    """Where another library keeps the permits of a semaphore: one znode each, made by who has the lock beside them."""

    lock_path: str
    lock_marker: str
    path: str  # each of its children is a permit that somebody has
    marker: str


class Place(NamedTuple):
    """What the name of a znode in another library's line says."""

    id: str
    kind: str
    marker: str
    number: str

    @property
    def is_kazoos(self) -> bool:
        """Whether it is one of kazoo's, else of Curator's."""
        return self.marker.endswith(("lock__", "lease__"))


def marker_of(path: str, naming: str, kind: str, data: bytes = b"") -> str:
    """The marker by which `naming` says `kind`. Raises BadArguments for what it has no place for."""
    kinds = MARKERS.get(naming, {})
    if kind not in kinds:
        known = get_args(ElectionNaming if kind == "lead" else Naming)
        raise BadArguments(path, f"naming={naming!r}: expected one of {', '.join(map(repr, known))}")
    if naming == "kazoo":
        try:
            data.decode()
        except UnicodeDecodeError:
            why = f"data={data[:60]!r}: expected UTF-8, as which naming='kazoo' reads the data of those in line"
            raise BadArguments(path, why) from None
    if naming.startswith("curator") and data == _CURATOR_ASKED:
        raise BadArguments(path, f"data={data!r}: naming='curator' asks a holder to give up by these data")
    return kinds[kind]


def leases_of(path: str, naming: str, data: bytes) -> Leases | None:
    """Where `naming` keeps the permits of a semaphore at `path`; None for ours, which are a line. Raises BadArguments.

    kazoo: Semaphore. Curator: InterProcessSemaphoreV2.
    """
    lock = marker_of(path, naming, "lock", data)
    if naming == "kazoo":
        return Leases(f"{path}-__lock__", lock, path, "__lease__")  # it counts children, whatever their names
    if naming == "curator":
        return Leases(f"{path.rstrip('/')}/locks", lock, f"{path.rstrip('/')}/leases", "-lease-")
    return None


def is_native(marker: str) -> bool:
    """Whether the znodes of `marker` have names of our own form."""
    return marker[0] not in "_-"


def is_kazoos(marker: str) -> bool:
    """Whether the znodes of `marker` have names as kazoo makes them."""
    return marker.startswith("__")


@lru_cache
def line_of(marker: str) -> str | tuple[str, ...]:
    """The markers of all that stand in one line with those of `marker`."""
    return next((line for line in LINES if marker.startswith(line)), marker)


def lines_among(names: Sequence[str]) -> list[tuple[str, str]]:
    """Which lines, of locks and elections, have somebody among `names`: naming and marker of each."""
    ours = [name for name in names if name.startswith("_r_")]
    others = [place.marker for name in names if (place := theirs(name)) is not None]
    found = []
    for naming, marker in (("native", "lock-"), ("native", "lead-")):
        line = line_of(marker)
        match = form_of((line,) if isinstance(line, str) else line).fullmatch
        if any(map(match, ours)):
            found.append((naming, marker))
    lines = {"__lock__": "kazoo", "-lock-": "curator", "-latch-": "curator-latch"}
    for marker, naming in lines.items():
        line = line_of(marker)
        kinds = [each.lstrip("-") for each in ((line,) if isinstance(line, str) else line)]
        if any(other in kinds for other in others):
            found.append((naming, marker))
    return found


def beginning(marker: str, label: str, random_bits: Callable[[int], int], name: str | None = None) -> str:
    """What the name of a znode of ours begins with, whose number the server puts behind: nobody else's begins so.

    name: the id, for one that follows another place of ours; chosen at random without it.
    """
    if is_native(marker):
        return f"_r_{f'{random_bits(64):016x}' if name is None else name}{label}-{marker}"
    if is_kazoos(marker):
        return f"{random_bits(128):032x}{marker}"
    return f"_c_{UUID(int=random_bits(128), version=4)}{marker}"


@cache
def form_of(markers: tuple[str, ...]) -> re.Pattern[str]:
    """The names with one of `markers`, which are all of one naming; the group is the number.

    Of other libraries' names only marker and number are looked at, as these do, too.
    """
    kinds = "|".join(re.escape(marker.lstrip("-")) for marker in markers)
    form = rf"_r_.*-(?:{kinds})(?:[0-9]+-)?(-?[0-9]+)" if is_native(markers[0]) else rf".*(?:{kinds}){_NUMBER}"
    return re.compile(form, re.DOTALL)


def theirs(name: str) -> Place | None:
    """What `name` says, when it is the name of a place in another library's line."""
    found = None if name.startswith("_r_") else _THEIRS.fullmatch(name)
    return None if found is None else Place(found["id"], _KINDS[found["marker"]], found["marker"], found[3])


def has_wrapped(name: str) -> bool:
    """Whether `name` is in another library's line, with a number that its rule does not put in order."""
    place = theirs(name)
    return place is not None and place.number.startswith("-")


def ask_to_leave(data: bytes, name: str = "") -> bytes:
    """The data of the znode `name` once its owner is asked to give up what it has."""
    return _CURATOR_ASKED if _is_curators(name) else data.removesuffix(_ASKED) + _ASKED


def is_asked(data: bytes, name: str = "") -> tuple[bytes, bool]:
    """What the owner of the znode `name` wrote itself, and whether it is asked to give up what it has."""
    if _is_curators(name):
        return (b"", True) if data == _CURATOR_ASKED else (data, False)
    return data.removesuffix(_ASKED), data.endswith(_ASKED)


def _is_curators(name: str) -> bool:
    place = theirs(name)
    return place is not None and not place.is_kazoos
