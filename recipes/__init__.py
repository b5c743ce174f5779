"""Distributed locks and leader election for Python, on a ZooKeeper-compatible core of their own.

Names are loaded when first used, so that a server starts without the client and the other way round.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recipes.core.client.client import Client, connect
    from recipes.core.client.session import ConnectionState
    from recipes.core.config import ServerConfig
    from recipes.core.errors import (
        AuthFailed,
        BadArguments,
        BadVersion,
        ClientClosed,
        ConfigError,
        ConnectionLoss,
        DiskError,
        HoldLost,
        InvalidACL,
        LeadershipLost,
        LockLost,
        NoAuth,
        NoChildrenForEphemerals,
        NodeExists,
        NoNode,
        NotEmpty,
        NotReadOnly,
        QuotaExceeded,
        RecipesError,
        SessionError,
        SessionExpired,
        StoreError,
        WireError,
    )
    from recipes.core.jute.records import ACL, Id, Stat
    from recipes.election.election import Election, Term
    from recipes.lock.lock import Grant, Lock

__all__ = [
    "ACL",
    "AuthFailed",
    "BadArguments",
    "BadVersion",
    "Client",
    "ClientClosed",
    "ConfigError",
    "ConnectionLoss",
    "ConnectionState",
    "DiskError",
    "Election",
    "Grant",
    "HoldLost",
    "Id",
    "InvalidACL",
    "LeadershipLost",
    "Lock",
    "LockLost",
    "NoAuth",
    "NoChildrenForEphemerals",
    "NoNode",
    "NodeExists",
    "NotEmpty",
    "NotReadOnly",
    "QuotaExceeded",
    "RecipesError",
    "ServerConfig",
    "SessionError",
    "SessionExpired",
    "Stat",
    "StoreError",
    "Term",
    "WireError",
    "connect",
]

_MODULES = {
    "ACL": "recipes.core.jute.records",
    "Client": "recipes.core.client.client",
    "ConnectionState": "recipes.core.client.session",
    "Election": "recipes.election.election",
    "Grant": "recipes.lock.lock",
    "Id": "recipes.core.jute.records",
    "Lock": "recipes.lock.lock",
    "ServerConfig": "recipes.core.config",
    "Stat": "recipes.core.jute.records",
    "Term": "recipes.election.election",
    "connect": "recipes.core.client.client",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'recipes' has no attribute {name!r}")
    found: object = getattr(import_module(_MODULES.get(name, "recipes.core.errors")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
