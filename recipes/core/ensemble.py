"""Which ensemble a zoo.cfg describes, and which of its servers this one is.

Source: QuorumPeerConfig.java: parse, parseDynamicConfig, setupMyId, setupClientPort, checkValidity.
"""

import re
from collections.abc import Mapping, Sequence
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import NamedTuple

from recipes.core.address import bracketed
from recipes.core.errors import ConfigError
from recipes.core.properties import Property, read_properties, read_text
from recipes.core.quorum import Membership, QuorumServer, ServerAddress

MAX_SID = 255  # the sid is the first byte of a session id
KEYS = ("server.", "group.", "weight.")  # prefixes of the keys that describe the ensemble

_NUMBER = re.compile(r"[0-9]{1,18}")
_HOST = r"(?P<{0}>\[[^\]|;]+\]|[^:;|\[\]]+)"
_ADDRESS = re.compile(
    rf"{_HOST.format('host')}:(?P<quorum>[0-9]+):(?P<election>[0-9]+)(?::(?P<role>[^:;|]+))?"
    rf"(?:;(?:{_HOST.format('client_host')}:)?(?P<client_port>[0-9]+))?"
)
_FORM = (
    "host:quorumPort:electionPort, then :participant or :observer if wanted, then ;clientPort or ;host:clientPort; "
    "further addresses of the server follow the first one, before the semicolon, with | between them"
)


class Place(NamedTuple):
    """This server's part in an ensemble.

    membership: None for a standalone server, which may have an id all the same.
    client: "host:port" for clients, from this server's own line; empty where the line has none.
    """

    membership: Membership | None
    server_id: int | None
    client: str


def read_membership(properties: Sequence[Property]) -> Membership | None:
    """The servers a zoo.cfg names, in itself or in its dynamicConfigFile. Raises ConfigError."""
    lines = [entry for entry in properties if entry.key.startswith(KEYS)]
    named = next((entry for entry in properties if entry.key == "dynamicConfigFile"), None)
    if named is not None:
        if lines:
            raise lines[0].wrong(f"this line in the dynamicConfigFile, {named.value}")
        lines = read_properties(_text(named), named.value)
    entries: dict[str, Property] = {}
    for entry in lines:
        if not entry.key.startswith(KEYS):
            raise entry.wrong("nothing but server.N, group.N and weight.N in a dynamicConfigFile")
        if entry.key in entries:
            raise entry.wrong(f"each key once: it is in line {entries[entry.key].line} too")
        entries[entry.key] = entry
    try:
        membership = parse_membership({key: entry.value for key, entry in entries.items()})
    except ConfigError as error:
        raise entries[error.key].wrong(error.expected) from None
    if membership is not None:
        _check_apart(membership, lines)
    return membership


def _check_apart(membership: Membership, lines: Sequence[Property]) -> None:
    """Check that no two servers share a port of a host."""
    owners: dict[tuple[str, int], int] = {}
    for entry in lines:
        number = entry.key.removeprefix("server.")
        if number == entry.key:
            continue
        server = membership.servers[int(number)]
        for host, *ports in server.addresses:
            for port in ports:
                owner = owners.setdefault((host.lower(), port), server.sid)
                if owner != server.sid:
                    raise entry.wrong(f"ports of its own: server.{owner} has port {port} of {host} too")


def find_place(
    membership: Membership | None, standalone_enabled: bool, data_dir: Path, stated_id: Property | None, source: str
) -> Place:
    """This server's place. Raises ConfigError.

    standalone_enabled: a single voter is a standalone server, which needs no id, no initLimit and no syncLimit.
    stated_id: the key `myid`; without it the id stands in the file of that name in the data directory.
    """
    if membership is None:
        if standalone_enabled:
            return Place(None, None, "")
        raise ConfigError("standaloneEnabled", "false", "at least one server.N", source=source)
    if not membership.voters:
        raise ConfigError("server.N", None, "a participant: all servers are observers", source=source)
    alone = standalone_enabled and len(membership.voters) == 1
    if alone and membership.observers:
        raise ConfigError("standaloneEnabled", "true", "false, for observers of a single participant", source=source)
    server_id = _server_id(membership, data_dir, stated_id, source, needed=not alone)
    client = "" if server_id is None else membership.servers[server_id].client
    return Place(None if alone else membership, server_id, client)


def _server_id(
    membership: Membership, data_dir: Path, stated: Property | None, source: str, *, needed: bool
) -> int | None:
    path = data_dir / "myid"
    try:
        text: str | None = path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except FileNotFoundError:
        text = None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("myid", path, f"a file that can be read ({error})", source=source) from None
    found = None if text is None else Property(str(path), 1, "myid", text)
    if stated is not None and found is not None and stated.value != found.value:
        raise stated.wrong(f"{found.value}, which is in {path}")
    chosen = stated or found
    if chosen is None:
        if needed:
            raise ConfigError("myid", None, f"this server's number in the file {path}", source=source)
        return None
    if not chosen.value.isascii() or not chosen.value.isdigit() or int(chosen.value) > MAX_SID:
        raise chosen.wrong(f"a number from 0 to {MAX_SID}")
    if int(chosen.value) in membership.servers:
        return int(chosen.value)
    if needed:
        raise chosen.wrong(f"one of the servers {', '.join(map(str, membership.servers))}")
    return None


def _text(named: Property) -> str:
    try:
        return read_text(Path(named.value))
    except OSError as error:
        raise named.wrong(f"a file that can be read ({error.strerror})") from None


def parse_membership(properties: Mapping[str, str]) -> Membership | None:
    """The ensemble that the keys server.N, group.N and weight.N describe; None where there is no server.N.

    Other keys are ignored. Raises ConfigError with the key and value that are wrong.
    """
    servers: dict[int, QuorumServer] = {}
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


def _server(sid: int, key: str, value: str) -> QuorumServer:
    if sid > MAX_SID:
        raise ConfigError(key, value, f"server.N with N from 0 to {MAX_SID}")
    places, roles, client = [], set(), ""
    for part in value.split("|"):
        found = _ADDRESS.fullmatch(part)
        if found is None or client:
            raise ConfigError(key, value, _FORM)
        quorum_port, election_port = int(found["quorum"]), int(found["election"])
        client_port = int(found["client_port"] or 1)
        if not all(0 < port <= 65535 for port in (quorum_port, election_port, client_port)):
            raise ConfigError(key, value, "ports from 1 to 65535")
        if quorum_port == election_port:
            raise ConfigError(key, value, "two ports that differ")
        if found["role"]:
            roles.add(found["role"].strip().lower())
        if found["client_port"]:
            client = f"{bracketed(_host(found['client_host'] or '0.0.0.0', key, value))}:{client_port}"
        places.append(ServerAddress(_host(found["host"], key, value), quorum_port, election_port))
    if len(roles) > 1 or not roles <= {"participant", "observer"}:
        raise ConfigError(key, value, _FORM)
    if len(set(places)) < len(places):
        raise ConfigError(key, value, "addresses that differ")
    first, *others = places
    return QuorumServer(
        sid, first.host, first.quorum_port, first.election_port, roles == {"observer"}, client, tuple(others)
    )


def _host(host: str, key: str, value: str) -> str:
    """An IPv6 address in the form Java prints, all groups without leading zeros; others as they are."""
    if not host.startswith("["):
        return host.strip()
    try:
        groups = IPv6Address(host[1:-1]).exploded.split(":")
    except AddressValueError:
        raise ConfigError(key, value, "an IPv6 address within the brackets") from None
    return ":".join(f"{int(group, 16):x}" for group in groups)


def _number(digits: str, key: str, value: str, expected: str) -> int:
    if not _NUMBER.fullmatch(digits):
        raise ConfigError(key, value, expected)
    return int(digits)
