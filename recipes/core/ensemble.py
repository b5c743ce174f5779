"""Which ensemble a zoo.cfg describes, and which of its servers this one is.

Source: QuorumPeerConfig.java: parse, parseDynamicConfig, setupMyId, setupClientPort, checkValidity.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from recipes.core.errors import ConfigError
from recipes.core.properties import Property, read_properties, read_text
from recipes.core.zab.membership import KEYS, MAX_SID, Membership, parse_membership


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
            raise lines[0].wrong(f"it to stand in the dynamicConfigFile, {named.value}")
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
        for port in (server.quorum_port, server.election_port):
            owner = owners.setdefault((server.host.lower(), port), server.sid)
            if owner != server.sid:
                raise entry.wrong(f"ports of its own: server.{owner} has port {port} of {server.host} too")


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
