"""Consistent hashing: assigns keys to members so that a change of the members moves few keys. Pure.

Source: Karger et al., Consistent Hashing and Random Trees, STOC 1997.
"""

from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from math import isfinite
from struct import Struct

from recipes.core.errors import BadArguments

_EIGHT = Struct(">8Q")  # eight places from one digest


class HashRing:
    """Members at pseudo-random places of a ring; a key belongs to the member whose place comes next.

    members: names, or names with weights. A member of weight 2 has twice as many keys as one of weight 1, the default.
    points: places for each unit of weight. More of them spread keys more evenly and take more memory; with 160 the
        shares of equal members lie within some 25 % of their mean.

    The same members give the same owners in every process, on every version of Python and machine, in whatever order
    the members were added: places are BLAKE2b hashes of the names. A new member takes keys from others, and no key
    moves between those. When a member is removed, its keys move and no others.

    Raises BadArguments for a weight or number of points that is not above 0; TypeError for a name that is no string.
    """

    def __init__(self, members: Iterable[str] | Mapping[str, float] = (), *, points: int = 160) -> None:
        if isinstance(members, str):
            raise TypeError(f"members: expected names, not the string {members!r}")
        if not isinstance(points, int) or isinstance(points, bool) or points < 1:
            raise BadArguments("", f"points={points!r}: expected a number from 1 on")
        self._points = points
        self._weights: dict[str, float] = {}
        self._ring: list[tuple[int, str]] = []
        pairs = members.items() if isinstance(members, Mapping) else ((member, 1.0) for member in members)
        self._weights.update((_name(member), _weight(member, weight)) for member, weight in pairs)
        for member, weight in self._weights.items():
            self._ring += self._places(member, weight)
        self._ring.sort()

    def __repr__(self) -> str:
        return f"HashRing({self._weights!r}, points={self._points})"

    def __len__(self) -> int:
        return len(self._weights)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._weights))

    def __contains__(self, member: object) -> bool:
        return member in self._weights

    @property
    def weights(self) -> dict[str, float]:
        """The members with their weights; a copy."""
        return dict(self._weights)

    def add(self, member: str, weight: float = 1.0) -> None:
        """Add a member, or give it another weight."""
        places = self._places(_name(member), _weight(member, weight))
        self.discard(member)
        self._weights[member] = weight
        self._ring += places
        self._ring.sort()

    def remove(self, member: str) -> None:
        """Take a member out. Raises KeyError for an unknown member."""
        del self._weights[member]
        self._ring = [place for place in self._ring if place[1] != member]

    def discard(self, member: str) -> None:
        """Take a member out, if it is one."""
        if member in self._weights:
            self.remove(member)

    def owner(self, key: str | bytes) -> str:
        """The member that `key` belongs to. Raises LookupError when there are no members."""
        if not self._ring:
            raise LookupError("the ring has no members")
        return self._ring[self._at(key)][1]

    def owners(self, key: str | bytes, n: int) -> list[str]:
        """The first `n` members for `key`, each once, its owner first; all of them when there are fewer."""
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise BadArguments("", f"n={n!r}: expected a number from 0 on")
        found: dict[str, None] = {}
        if self._ring and n:
            at, most = self._at(key), min(n, len(self._weights))
            for step in range(len(self._ring)):
                found.setdefault(self._ring[(at + step) % len(self._ring)][1])
                if len(found) == most:
                    break
        return list(found)

    def _at(self, key: str | bytes) -> int:
        raw = key.encode() if isinstance(key, str) else key
        where = int.from_bytes(blake2b(raw, digest_size=8, person=b"recipes key").digest(), "big")
        return bisect(self._ring, (where,)) % len(self._ring)

    def _places(self, member: str, weight: float) -> list[tuple[int, str]]:
        count = max(1, round(self._points * weight))
        found: list[tuple[int, str]] = []
        for number in range(-(-count // 8)):
            digest = blake2b(member.encode(), salt=number.to_bytes(16, "big"), person=b"recipes member").digest()
            found += [(place, member) for place in _EIGHT.unpack(digest)]
        return found[:count]


def _name(member: str) -> str:
    if not isinstance(member, str):
        raise TypeError(f"member: expected a string, not {member!r}")
    return member


def _weight(member: str, weight: float) -> float:
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not isfinite(weight) or weight <= 0:
        raise BadArguments("", f"weight={weight!r} of member {member!r}: expected a number above 0")
    return weight
