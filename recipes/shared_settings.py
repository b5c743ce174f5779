"""Settings that all users of one path must agree on: the parties of a barrier, the limit of a semaphore.

The first user writes them into the recipe's znode, as JSON; all others compare their own.
"""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from recipes.core.errors import BadVersion, ConnectionLoss, NodeExists, NoNode, SettingsDiffer

if TYPE_CHECKING:
    from recipes.core.client.client import Client
    from recipes.core.jute.records import ACL, Stat

Settings = Mapping[str, int | str | None] | int  # an int: a number alone, as kazoo's Semaphore stores it


async def agree(
    client: "Client",
    path: str,
    settings: Settings,
    acl: "Sequence[ACL] | None" = None,
    *,
    first: Mapping[str, str] = MappingProxyType({}),
) -> "Stat":
    """Create the znode `path` with `settings`, or check that it has them; return its Stat.

    A znode without data, such as one made by `ensure_path`, gets them. acl: of the znode, if it is created here.
    first: extra values that the first user stores and nobody compares. Raises SettingsDiffer, which names both
    settings, ConnectionLoss when the connection broke three times, and the errors of every call.
    """
    stored = settings if isinstance(settings, int) else {**settings, **first}
    written = json.dumps(stored, separators=(",", ":")).encode()
    losses = 0
    while True:
        try:
            data, stat = await client.get(path)
            if data:
                compare(path, data, settings)
                return stat
            return await client.set(path, written, stat.version)
        except NoNode:
            try:
                _, stat = await client.create2(path, written, acl=acl, make_parents=True)
            except NodeExists:
                continue
            except ConnectionLoss:
                losses += 1
                if losses == 3:
                    raise
                continue
            return stat
        except BadVersion:
            continue  # somebody else was quicker
        except ConnectionLoss:  # read again to see whether the set was applied
            losses += 1
            if losses == 3:
                raise


def compare(path: str, data: bytes, settings: Settings) -> None:
    """Raise SettingsDiffer unless `data`, as stored at `path`, holds these settings."""
    try:
        stored = json.loads(data)
    except ValueError:
        stored = None
    if isinstance(settings, int) and isinstance(stored, int):
        stored, settings = {"limit": stored}, {"limit": settings}
    if not isinstance(stored, dict) or isinstance(settings, int):
        raise SettingsDiffer(path, f"expected {_said(settings)}, and the znode holds other data: {data[:60]!r}")
    differing = {key: stored.get(key) for key in settings if stored.get(key) != settings[key]}
    if differing:
        ours = {key: settings[key] for key in differing}
        raise SettingsDiffer(path, f"it was set up with {_said(differing)}, and here with {_said(ours)}")


def _said(settings: Settings) -> str:
    if isinstance(settings, int):
        return f"a number, {settings}"
    return ", ".join(f"{key}={value}" for key, value in settings.items())
