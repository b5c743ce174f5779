"""Which servers are in an ensemble, and which of them make a quorum.

Source: QuorumPeer.QuorumServer, flexible.QuorumMaj, flexible.QuorumHierarchical.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from recipes.core.address import bracketed
from recipes.core.build import mypyc_attr


class ServerAddress(NamedTuple):
    """Where a server talks to the others. host: name or address, without the brackets of an IPv6 one."""

    host: str
    quorum_port: int
    election_port: int


class QuorumServer(NamedTuple):
    """One line `server.N`.

    host: name or address, without the brackets of an IPv6 one.
    client: "host:port" where its clients connect; empty when the line has none.
    others: further addresses of the same server, for example in another network.
    """

    sid: int
    host: str
    quorum_port: int
    election_port: int
    observer: bool = False
    client: str = ""
    others: tuple[ServerAddress, ...] = ()

    @property
    def addresses(self) -> tuple[ServerAddress, ...]:
        """All of them, the first one first."""
        return (ServerAddress(self.host, self.quorum_port, self.election_port), *self.others)


@mypyc_attr(allow_interpreted_subclasses=True)
class Membership:
    """The servers of an ensemble; the voters among them decide.

    groups: by number, the sids of each group; every voter is in one of them. Without groups a majority of voters is
        a quorum; with them, more than half of the weight in each of more than half of the groups.
    weights: by sid; 1 where a sid has none. A group whose weights sum to 0 does not count.
    """

    __slots__ = ("_all", "_groups", "_half", "_totals", "_weights", "observers", "servers", "voters")

    def __init__(
        self,
        servers: Iterable[QuorumServer],
        groups: Mapping[int, Collection[int]] | None = None,
        weights: Mapping[int, int] | None = None,
    ) -> None:
        self.servers: dict[int, QuorumServer] = {server.sid: server for server in sorted(servers)}
        self.voters: tuple[int, ...] = tuple(sid for sid, server in self.servers.items() if not server.observer)
        self.observers: tuple[int, ...] = tuple(sid for sid, server in self.servers.items() if server.observer)
        self._all = frozenset(self.voters)
        self._groups = {number: tuple(sorted(sids)) for number, sids in sorted((groups or {}).items())}
        self._weights = dict(sorted({**dict.fromkeys(self.voters, 1), **(weights or {})}.items()))
        totals = {number: sum(map(self.weight, sids)) for number, sids in self._groups.items()}
        self._totals = {number: total for number, total in totals.items() if total}
        self._half = len(self._totals if self._groups else self.voters) // 2

    @property
    def has_groups(self) -> bool:
        """Whether groups and weights decide, rather than a majority of voters."""
        return bool(self._groups) or len(set(self._weights.values())) > 1

    def weight(self, sid: int) -> int:
        """What the vote of `sid` weighs. A server of weight 0 votes but is never elected; neither is an observer."""
        return self._weights[sid] if sid in self._all else 0

    def is_quorum(self, sids: Collection[int]) -> bool:
        """Whether `sids` are a quorum. Servers that are not voters do not count."""
        present = self._all.intersection(sids)
        if not self._groups:
            return len(present) > self._half
        won = 0
        for number, total in self._totals.items():
            won += sum(self._weights[sid] for sid in self._groups[number] if sid in present) > total // 2
        return won > self._half

    def committed(self, held: Mapping[int, int]) -> int:
        """The highest zxid that a quorum of voters has reached; -1 if there is none. held: each voter's last zxid."""
        if not self._groups:
            zxids = sorted([held.get(sid, -1) for sid in self.voters])
            return zxids[(len(zxids) - 1) // 2]
        for zxid in sorted(held.values(), reverse=True):
            if self.is_quorum([sid for sid, last in held.items() if last >= zxid]):
                return zxid
        return -1

    def config_text(self) -> bytes:
        """The membership in the form that ZooKeeper's servers store and compare. A static one has version 0."""
        lines = []
        for server in self.servers.values():
            role = "observer" if server.observer else "participant"
            places = sorted((bracketed(each.host), each.quorum_port, each.election_port) for each in server.addresses)
            at = "|".join(":".join(map(str, place)) for place in places)
            lines.append(f"server.{server.sid}={at}:{role}{';' if server.client else ''}{server.client}")
        if self._groups:
            lines += [f"group.{number}={':'.join(map(str, sids))}" for number, sids in self._groups.items()]
            lines += [f"weight.{sid}={weight}" for sid, weight in self._weights.items()]
        return "\n".join([*lines, "version=0"]).encode()
