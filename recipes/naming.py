"""Names of the znodes in a line: ours, kazoo's and Curator's. All of them have the same rule of who holds.

A marker stands between the id and the number in a znode's name. It says what the znode asks for, and in whose naming.

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
    # In kazoo a writer's znode is named like a lock's, and an Election uses a Lock.
    "kazoo": {"lock": "__lock__", "read": "__rlock__", "write": "__lock__", "lead": "__lock__"},
    "curator": {"lock": "-lock-", "read": "-__READ__", "write": "-__WRIT__", "lead": "-lock-"},  # lead: LeaderSelector
    "curator-latch": {"lead": "-latch-"},
}
# Markers that share one line at a path, so that locks, readers and writers see one another.
LINES = (
    ("lock-", "read-", "write-", "permits-"),
    ("__lock__", "__rlock__"),
    ("-lock-", "-__READ__", "-__WRIT__"),
)

_NUMBER = "(-?[0-9]{9,10})"  # ten characters, a sign included
# Compiled at its first use, as most programs meet no other library's names.
_THEIRS = r"(?s)(?:_c_)?(?P<id>.*?)-?(?P<marker>__(?:r?lock|lease|READ|WRIT)__|(?:lock|lease|latch)-)" + _NUMBER
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
_ASKED = b"\0asked to give it up"  # appended to the data of a znode to ask its owner to give up
_CURATOR_ASKED = b"__REVOKE__"  # replaces the data for the same purpose, as Curator's Revoker does


class Leases(NamedTuple):
    """Where another library keeps the permits of a semaphore: one znode each, made by the holder of a separate lock."""

    lock_path: str
    lock_marker: str
    path: str  # each child is a permit that is taken
    marker: str


class NameParts(NamedTuple):
    """The parts of a znode's name in another library's line."""

    id: str
    kind: str
    marker: str
    number: str

    @property
    def is_kazoos(self) -> bool:
        """Whether the name is in kazoo's form; otherwise it is in Curator's."""
        return self.marker.endswith(("lock__", "lease__"))


def marker_of(path: str, naming: str, kind: str, data: bytes = b"") -> str:
    """The marker of `kind` in `naming`. Raises BadArguments for a kind or data that `naming` cannot express."""
    kinds = MARKERS.get(naming, {})
    if kind not in kinds:
        known = get_args(ElectionNaming if kind == "lead" else Naming)
        raise BadArguments(path, f"naming={naming!r}: expected one of {', '.join(map(repr, known))}")
    if naming == "kazoo":
        try:
            data.decode()
        except UnicodeDecodeError:
            why = f"data={data[:60]!r}: expected UTF-8, since naming='kazoo' shares them with kazoo, which decodes them"
            raise BadArguments(path, why) from None
    if naming.startswith("curator") and data == _CURATOR_ASKED:
        raise BadArguments(path, f"data={data!r}: naming='curator' reserves these data: they ask a holder to give up")
    return kinds[kind]


def leases_of(path: str, naming: str, data: bytes) -> Leases | None:
    """Where `naming` keeps a semaphore's permits at `path`; None for native, which uses a line. Raises BadArguments.

    kazoo: Semaphore. Curator: InterProcessSemaphoreV2.
    """
    lock = marker_of(path, naming, "lock", data)
    if naming == "kazoo":
        return Leases(f"{path}-__lock__", lock, path, "__lease__")  # it counts children, whatever their names
    if naming == "curator":
        return Leases(f"{path.rstrip('/')}/locks", lock, f"{path.rstrip('/')}/leases", "-lease-")
    return None


def is_native(marker: str) -> bool:
    """Whether `marker` belongs to our own naming."""
    return marker[0] not in "_-"


def is_kazoos(marker: str) -> bool:
    """Whether `marker` belongs to kazoo's naming."""
    return marker.startswith("__")


@lru_cache
def line_of(marker: str) -> str | tuple[str, ...]:
    """The markers of the line that `marker` belongs to; `marker` itself if it has a line of its own."""
    return next((line for line in LINES if marker.startswith(line)), marker)


def lines_among(names: Sequence[str]) -> list[tuple[str, str]]:
    """The lines of locks and elections that `names` show somebody in: naming and marker of each."""
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
    """A unique beginning for the name of a sequential znode of ours; the server appends the number.

    name: the id, for a place that follows an earlier one of ours; random without it. Used in native naming only.
    """
    if is_native(marker):
        return f"_r_{f'{random_bits(64):016x}' if name is None else name}{label}-{marker}"
    if is_kazoos(marker):
        return f"{random_bits(128):032x}{marker}"
    return f"_c_{UUID(int=random_bits(128), version=4)}{marker}"


@cache
def form_of(markers: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern of the names with one of `markers`, which are all of one naming; its group is the number.

    In other libraries' names only marker and number count, as in those libraries themselves.
    """
    kinds = "|".join(re.escape(marker.lstrip("-")) for marker in markers)
    form = rf"_r_.*-(?:{kinds})(?:[0-9]+-)?(-?[0-9]+)" if is_native(markers[0]) else rf".*(?:{kinds}){_NUMBER}"
    return re.compile(form, re.DOTALL)


def theirs(name: str) -> NameParts | None:
    """The parts of `name` if it is the name of a place in another library's line, else None."""
    found = None if name.startswith("_r_") else re.fullmatch(_THEIRS, name)
    return None if found is None else NameParts(found["id"], _KINDS[found["marker"]], found["marker"], found[3])


def has_wrapped(name: str) -> bool:
    """Whether `name` is in another library's line, with a wrapped number, which that library misorders."""
    place = theirs(name)
    return place is not None and place.number.startswith("-")


def ask_to_leave(data: bytes, name: str = "") -> bytes:
    """The data to write to the znode `name` to ask its owner to give up what it holds."""
    return _CURATOR_ASKED if _is_curators(name) else data.removesuffix(_ASKED) + _ASKED


def is_asked(data: bytes, name: str = "") -> tuple[bytes, bool]:
    """The owner's own data of the znode `name`, and whether the owner is asked to give up what it holds."""
    if _is_curators(name):
        return (b"", True) if data == _CURATOR_ASKED else (data, False)
    return data.removesuffix(_ASKED), data.endswith(_ASKED)


def _is_curators(name: str) -> bool:
    place = theirs(name)
    return place is not None and not place.is_kazoos
