"""Opcodes and bodies of the writes that a client sends alone and inside a multi, with their arguments checked."""

from collections.abc import Sequence

from recipes.core.client.namespace import Namespace
from recipes.core.errors import BadArguments
from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.records import ACL, Id

OPEN_ACL = (ACL(op.ALL, Id("world", "anyone")),)

_LONGEST_TTL_MS = 0xFFFFFFFFFF  # ZooKeeper stores a ttl in five bytes


def create(
    namespace: Namespace,
    path: str,
    data: bytes,
    *,
    ephemeral: bool,
    sequential: bool,
    container: bool = False,
    ttl: float | None = None,
    acl: Sequence[ACL] | None = None,
) -> tuple[int, bytes]:
    """Opcode and body of a create. Raises BadArguments, TypeError."""
    if (container and (ephemeral or sequential or ttl is not None)) or (ephemeral and ttl is not None):
        raise BadArguments(path, "expected only one of container, ephemeral and ttl, and no container with sequential")
    if not isinstance(path, str):
        raise TypeError(f"path: expected a str, not {type(path).__name__}")
    # The server validates the path with its number, so before the number the path may end in a slash.
    full = namespace.full(path + "0")[:-1] if sequential else namespace.full(path)
    _check_data(data)
    entries = OPEN_ACL if acl is None else acl
    if container:
        return op.CREATE_CONTAINER, rq.encode_create(full, data, entries, op.CONTAINER)
    if ttl is not None:
        if not 0.001 <= ttl <= _LONGEST_TTL_MS / 1000:
            raise BadArguments(path, f"ttl={ttl}: expected seconds, from 0.001 to {_LONGEST_TTL_MS / 1000}")
        flags = op.PERSISTENT_SEQUENTIAL_WITH_TTL if sequential else op.PERSISTENT_WITH_TTL
        return op.CREATE_TTL, rq.encode_create(full, data, entries, flags, int(ttl * 1000))
    return op.CREATE2, rq.encode_create(full, data, entries, ephemeral + 2 * sequential)


def set_data(namespace: Namespace, path: str, data: bytes, version: int) -> bytes:
    """Body of a setData. Raises BadArguments, TypeError."""
    _check_data(data)
    _check_version(path, version)
    return rq.encode_set_data(namespace.full(path), data, version)


def path_version(namespace: Namespace, path: str, version: int) -> bytes:
    """Body of a delete or check. Raises BadArguments, TypeError."""
    _check_version(path, version)
    return rq.encode_path_version(namespace.full(path), version)


def set_acl(namespace: Namespace, path: str, acl: Sequence[ACL], version: int) -> bytes:
    """Body of a setACL. Raises BadArguments, TypeError."""
    _check_version(path, version)
    return rq.encode_set_acl(namespace.full(path), acl, version)


def _check_data(data: object) -> None:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"data: expected bytes, not {type(data).__name__}")


def _check_version(path: str, version: object) -> None:
    if not isinstance(version, int):
        raise TypeError(f"version: expected an int, not {type(version).__name__}")
    if not -0x80000000 <= version <= 0x7FFFFFFF:
        raise BadArguments(path, f"version={version}: expected one of 32 bits")
