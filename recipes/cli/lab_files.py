"""The files, and the links, that the commands of `recipes lab` read, and the files that they write."""

import binascii
import zlib
from base64 import urlsafe_b64decode
from dataclasses import replace
from pathlib import Path

from recipes.cli.source import source_commit
from recipes.core.errors import BadArguments
from recipes.lab import scenario as scenarios
from recipes.lab.casts import protocol_of
from recipes.lab.parts import Part, read_part
from recipes.lab.run import run
from recipes.lab.scenario import Scenario
from recipes.lab.trace import Trace, loads, with_commit

_MOST_BYTES = 1 << 16  # of a scenario in a link


def scenario_of(name: str) -> Scenario:
    """A scenario by its id, from a .toml file, or from a link that a page of `recipes lab serve` made.

    Raises BadArguments if there is none, or something in it is wrong.
    """
    if "#s=" in name:
        return _linked(name.partition("#")[2])
    if not name.endswith(".toml"):
        return scenarios.load(name)
    return scenarios.parse(Path(name).stem, text_of(Path(name)))


def _linked(address: str) -> Scenario:
    """What follows # in a link: a scenario, packed as static/page/live.js does it, and what its run was asked for."""
    asked = _asked(address)
    packed = asked["s"]
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), _MOST_BYTES).decode()
        seed, servers = (int(asked[name]) if name in asked else None for name in ("seed", "servers"))
    except (binascii.Error, zlib.error, ValueError) as error:
        raise BadArguments("", f"the link has no scenario that can be read: {error}") from None
    if not unpacking.eof:
        raise BadArguments("", "the link has no scenario that can be read: it is cut, or too long")
    found = scenarios.parse("shared", text)
    protocol = asked.get("protocol", found.protocols[0])
    if protocol not in found.protocols:
        raise BadArguments("", f"the link's scenario does not run on {protocol}: expected {', '.join(found.protocols)}")
    sites = found.sites if servers is None else {**found.sites, protocol_of(protocol).parts[0].kind: servers}
    return replace(found, seed=found.seed if seed is None else seed, protocols=(protocol,), sites=sites)


def _asked(address: str) -> dict[str, str]:
    return {name: value for name, _, value in (part.partition("=") for part in address.split("&"))}


def replayed(name: str) -> tuple[Trace, Scenario | None, int | None]:
    """The trace in a file; or that of the scenario in a link, which is run, with the scenario and the link's event.

    Raises BadArguments that names the file, or says what is wrong with the link.
    """
    if "#s=" not in name:
        if "://" in name:
            raise BadArguments("", f"{name}: a link to replay has a scenario in it, #s=...; a trace is a file")
        return trace_of(Path(name)), None, None
    found = _linked(name.partition("#")[2])
    trace = with_commit(run(found).trace, source_commit())
    at = _asked(name.partition("#")[2]).get("at")
    if at is None:
        return trace, found, None
    if not (at.isascii() and at.isdecimal() and int(at[:10]) < len(trace.events)):
        raise BadArguments("", f"the link asks for event {at[:20]}: the last one is {len(trace.events) - 1}")
    return trace, found, int(at)


def trace_of(file: Path) -> Trace:
    """The trace in a file. Raises BadArguments that names the file."""
    text = text_of(file)
    try:
        return loads(text)
    except BadArguments as error:
        raise BadArguments("", f"{file}: {error.message}") from None


def part_of(file: Path) -> Part:
    """What one server has written. Raises BadArguments that names the file."""
    text = text_of(file)
    try:
        return read_part(text)
    except BadArguments as error:
        raise BadArguments("", f"{file}: {error.message}") from None


def text_of(file: Path) -> str:
    """The text of a file. Raises BadArguments if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadArguments("", f"{file}: {error}") from None


def write(file: Path, text: str) -> None:
    """Write a file. Raises BadArguments if that fails."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadArguments("", f"{file}: {error.strerror}") from None
