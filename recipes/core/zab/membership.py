"""Which servers are in the ensemble, and which of them make a quorum.

Source: QuorumPeer.QuorumServer, flexible.QuorumMaj, flexible.QuorumHierarchical.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from recipes.core.errors import ConfigError

MAX_SID = 255  # the sid is the first byte of a session id
KEYS = ("server.", "group.", "weight.")  # prefixes of the keys that describe the ensemble

_NUMBER = re.compile(r"[0-9]{1,18}")
_HOST = r"(?P<{0}>\[[^\]|;]+\]|[^:;|\[\]]+)"
_ADDRESS = re.compile(
    rf"{_HOST.format('host')}:(?P<quorum>[0-9]+):(?P<election>[0-9]+)(?::(?P<role>[^:;|]+))?"
    rf"(?:;(?:{_HOST.format('client_host')}:)?(?P<client_port>[0-9]+))?"
)
_FORM = "host:quorumPort:electionPort, then :participant or :observer if wanted, then ;clientPort or ;host:clientPort"


class Server(NamedTuple):
    """One line `server.N`.

    host: name or address, without the brackets of an IPv6 one.
    client: "host:port" where its clients connect; empty when the line has none.
    """

    sid: int
    host: str
    quorum_port: int
    election_port: int
    observer: bool = False
    client: str = ""


class Membership:
    """The servers of an ensemble; the voters among them decide.

    groups: by number, the sids of each group; every voter is in one of them. Without groups a majority of voters is
        a quorum; with them, more than half of the weight in each of more than half of the groups.
    weights: by sid; 1 where a sid has none. A group whose weights sum to 0 does not count.
    """

    __slots__ = ("_all", "_groups", "_half", "_totals", "_weights", "observers", "servers", "voters")

    def __init__(
        self,
        servers: Iterable[Server],
        groups: Mapping[int, Collection[int]] | None = None,
        weights: Mapping[int, int] | None = None,
    ) -> None:
        self.servers: dict[int, Server] = {server.sid: server for server in sorted(servers)}
        self.voters: tuple[int, ...] = tuple(sid for sid, server in self.servers.items() if not server.observer)
        self.observers: tuple[int, ...] = tuple(sid for sid, server in self.servers.items() if server.observer)
        self._all = frozenset(self.voters)
        self._groups = {number: tuple(sorted(sids)) for number, sids in sorted((groups or {}).items())}
        self._weights = dict(sorted({**dict.fromkeys(self.voters, 1), **(weights or {})}.items()))
        totals = {number: sum(map(self.weight, sids)) for number, sids in self._groups.items()}
        self._totals = {number: total for number, total in totals.items() if total}
        self._half = len(self._totals if self._groups else self.voters) // 2

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
            at = f"{_bracketed(server.host)}:{server.quorum_port}:{server.election_port}"
            lines.append(f"server.{server.sid}={at}:{role}{';' if server.client else ''}{server.client}")
        if self._groups:
            lines += [f"group.{number}={':'.join(map(str, sids))}" for number, sids in self._groups.items()]
            lines += [f"weight.{sid}={weight}" for sid, weight in self._weights.items()]
        return "\n".join([*lines, "version=0"]).encode()


def parse_membership(properties: Mapping[str, str]) -> Membership | None:
    """The ensemble that the keys server.N, group.N and weight.N describe; None where there is no server.N.

    Other keys are ignored. Raises ConfigError with the key and value that are wrong.
    """
    servers: dict[int, Server] = {}
    groups: dict[int, list[int]] = {}
    weights: dict[int, int] = {}
    grouped: dict[int, str] = {}
    for key, value in properties.items():
        kind = key[: key.find(".") + 1]
        if kind not in KEYS:
            continue
        number = _number(key[len(kind) :], key, value, f"{kind}N, with a number for N")
        if number in (servers if kind == "server." else weights if kind == "weight." else groups):
            raise ConfigError(key, value, f"each number once: {kind}{number} is there already")
        if kind == "server.":
            servers[number] = _server(number, key, value)
        elif kind == "weight.":
            weights[number] = _number(value, key, value, "a weight: 0 or a whole number above it")
        else:
            groups[number] = []
            for part in value.split(":"):
                sid = _number(part.strip(), key, value, "numbers of servers with colons between them")
                if sid in grouped:
                    raise ConfigError(key, value, f"each server in one group: server {sid} is in {grouped[sid]} too")
                grouped[sid] = key
                groups[number].append(sid)
    if not servers:
        return None
    membership = Membership(servers.values(), groups, weights)
    _check_groups(membership, grouped, properties)
    return membership


def _check_groups(membership: Membership, grouped: dict[int, str], properties: Mapping[str, str]) -> None:
    for sid, key in grouped.items():
        if sid not in membership.voters:
            raise ConfigError(key, properties[key], f"servers that vote: server {sid} does not")
    about = next((key for key in properties if key.startswith(("group.", "weight."))), None)
    if about is None:
        return
    for sid in membership.voters:
        if sid not in grouped:
            raise ConfigError(about, properties[about], f"every voter to be in a group: server {sid} is in none")
    if not any(map(membership.weight, membership.voters)):
        raise ConfigError(about, properties[about], "some voter to weigh more than 0")


def _server(sid: int, key: str, value: str) -> Server:
    if sid > MAX_SID:
        raise ConfigError(key, value, f"server.N with N from 0 to {MAX_SID}")
    if "|" in value:
        raise ConfigError(key, value, "one address: several with | between them are not supported")
    found = _ADDRESS.fullmatch(value)
    role = (found["role"] or "participant").strip().lower() if found else ""
    if found is None or role not in ("participant", "observer"):
        raise ConfigError(key, value, _FORM)
    quorum_port, election_port = int(found["quorum"]), int(found["election"])
    client_port = int(found["client_port"] or 1)
    if not all(0 < port <= 65535 for port in (quorum_port, election_port, client_port)):
        raise ConfigError(key, value, "ports from 1 to 65535")
    if quorum_port == election_port:
        raise ConfigError(key, value, "two ports that differ")
    client = ""
    if found["client_port"]:
        client = f"{_bracketed(_host(found['client_host'] or '0.0.0.0', key, value))}:{client_port}"
    return Server(sid, _host(found["host"], key, value), quorum_port, election_port, role == "observer", client)


def _host(host: str, key: str, value: str) -> str:
    """An IPv6 address in the form Java prints, all groups without leading zeros; others as they are."""
    if not host.startswith("["):
        return host.strip()
    try:
        groups = IPv6Address(host[1:-1]).exploded.split(":")
    except AddressValueError:
        raise ConfigError(key, value, "an IPv6 address within the brackets") from None
    return ":".join(f"{int(group, 16):x}" for group in groups)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _number(digits: str, key: str, value: str, expected: str) -> int:
    if not _NUMBER.fullmatch(digits):
        raise ConfigError(key, value, expected)
    return int(digits)
