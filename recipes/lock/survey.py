"""Finds the lines of locks, semaphores and elections at a path, in any library's naming, and their participants."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

from recipes.contender import read_holders
from recipes.core import paths
from recipes.core.errors import NoAuth, NoNode, SettingsDiffer, invariant
from recipes.election.weights import MARKER, as_candidate
from recipes.line import ALL, Participant
from recipes.lock.lease import read_leases
from recipes.lock.semaphore import kept_permits, stored_limit
from recipes.naming import leases_of, lines_among, theirs

if TYPE_CHECKING:
    from recipes.core.client.client import Client

_OF_THE_SERVERS = "/zookeeper"


class Seen(NamedTuple):
    """A line as it was when read.

    naming: "native", "kazoo", "curator" or "curator-latch". limit: of a semaphore; None for others and if not stored.
    """

    path: str
    naming: str
    limit: int | None
    holders: list[Participant]
    waiters: list[Participant]


async def read_lines(client: "Client", path: str) -> list[Seen]:
    """Each line at `path` in which somebody stands. Raises NoNode, NoAuth, SessionExpired, ClientClosed."""
    return await _lines_at(client, path, await client.children(path))


async def walk_lines(client: "Client", path: str) -> AsyncIterator[Seen | NoAuth]:
    """Each line at `path` and below; NoAuth in place of an unreadable znode. Raises as `read_lines` for `path`."""
    left = [path]
    below_leases: set[str] = set()
    while left:
        where = left.pop()
        try:
            names = sorted(await client.children(where))
            for seen in [] if where in below_leases else await _lines_at(client, where, names):
                yield seen
        except NoNode:
            if where == path:
                raise
            continue
        except NoAuth as error:
            if where == path:
                raise
            yield error
            continue
        if _has_curators_leases(names):
            below_leases |= {paths.join(where, "locks"), paths.join(where, "leases")}
        # A znode in line is ephemeral, so it has no children.
        left += [paths.join(where, name) for name in reversed(names) if not name.startswith("_r_") and not theirs(name)]
        left = [each for each in left if each != _OF_THE_SERVERS]


async def _lines_at(client: "Client", path: str, names: list[str]) -> list[Seen]:
    if _has_curators_leases(names):
        found = await _leases(client, path, "curator", None)
        return [found] if found.holders or found.waiters else []
    try:
        data, _ = await client.get(path)
    except NoNode:
        return []
    lines = []
    for naming, marker in lines_among(names):
        limit, stored, kept = ALL, None, frozenset[str]()
        if naming == "native" and data and any("-permits-" in name for name in names):
            try:
                limit = stored = stored_limit(path, data)[0]
                kept = kept_permits(data)
            except SettingsDiffer:
                pass  # the path of a lock, which may hold any data
        holders, waiters = await read_holders(client, path, marker, limit, kept)
        if marker == MARKER:
            holders, waiters = [[as_candidate(each) for each in line] for line in (holders, waiters)]
        if holders or waiters:
            lines.append(Seen(path, naming, stored, holders, waiters))
    if data.isdigit() and path != "/" and await client.exists(f"{path}-__lock__") is not None:
        found = await _leases(client, path, "kazoo", int(data))
        if found.holders or found.waiters:
            lines.append(found)
    return lines


def _has_curators_leases(names: list[str]) -> bool:
    return "leases" in names and "locks" in names


async def _leases(client: "Client", path: str, naming: str, limit: int | None) -> Seen:
    leases = leases_of(path, naming, b"")
    invariant(leases is not None)
    return Seen(path, naming, limit, *await read_leases(client, leases))  # type: ignore[arg-type]
