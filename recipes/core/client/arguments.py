"""Checks of the arguments that a client is made with."""

import os
import ssl
from pathlib import Path

from recipes.core.errors import BadArguments

SMALL_BYTES = 1024  # a body that is shorter than the limit by this margin needs no exact measuring


def check_arguments(
    hosts: str | None,
    data_dir: str | Path | None,
    private: bool,
    session_timeout: float,
    tls: ssl.SSLContext | None,
    max_request_bytes: int,
) -> str | None:
    """Return the hosts; `data_dir` becomes "store:DIRECTORY". See `connect`. Raises TypeError and BadArguments."""
    if not isinstance(session_timeout, int | float):
        raise TypeError(f"session_timeout: expected seconds, not {session_timeout!r}")
    if not 0 < session_timeout < 1e6:
        raise BadArguments("", f"session_timeout={session_timeout}: expected seconds, more than 0 and below 1000000")
    if not isinstance(hosts, str | None):
        raise TypeError(f"hosts: expected a string 'host:port,host:port', not {hosts!r}")
    if (hosts is not None) + (data_dir is not None) + bool(private) > 1:
        raise BadArguments("", "hosts, data_dir and private: expected one of them")
    if not isinstance(tls, ssl.SSLContext | None):
        raise TypeError(f"tls: expected an ssl.SSLContext, not {tls!r}")
    if not isinstance(max_request_bytes, int) or not 4096 <= max_request_bytes <= 0x7FFFFFFF:
        raise BadArguments("", f"max_request_bytes={max_request_bytes!r}: expected bytes, 4096 to {0x7FFFFFFF}")
    return hosts if data_dir is None else f"store:{os.fspath(data_dir)}"


def check_credentials(pair: tuple[str, str], limit_bytes: int) -> tuple[bytes, bytes]:
    """Scheme and credentials in bytes. Raises TypeError, and BadArguments if they are too long for servers."""
    if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
        raise TypeError('auth: expected pairs, such as [("digest", "user:password")]')
    scheme, credentials = pair[0].encode(), pair[1].encode()
    if len(scheme) + len(credentials) + SMALL_BYTES > limit_bytes:
        raise BadArguments("", f"credentials of {len(credentials)} bytes: servers take less than {limit_bytes}")
    return scheme, credentials
