"""Error texts that say why there is no connection, and what to check."""

import os
import ssl
from collections.abc import Mapping

import anyio

from recipes.core.address import with_port
from recipes.core.errors import ConnectionLoss

_TLS_RECORDS = (0x14, 0x15, 0x16)  # RFC 8446, 5.1: types of the first record of a TLS server
_HUNG_UP = "it hung up: it may have no leader, or too many clients from this address (maxClientCnxns)"


def nobody_answers(where: str, failures: Mapping[str, str]) -> ConnectionLoss:
    """The error when no server accepts the client, in words for newcomers. failures: the last one of each server."""
    certificates = any(why.startswith("its certificate") for why in failures.values())
    what = "no trusted server at" if certificates else "no ZooKeeper server answers at"
    reasons = set(failures.values())
    if len(reasons) < 2:
        said = "".join(reasons) or "no reply"
    else:
        said = "; ".join(f"{name}: {why}" for name, why in sorted(failures.items()))
    return ConnectionLoss(f"{what} {where}: {said}")


def shown_host(host: str, port: int) -> str:
    """A host and port as in the string of hosts; the path of a Unix socket has no port."""
    if host.startswith("unix:"):
        return host
    return with_port(host, port)


def reason_of(error: BaseException, *, tls: bool, up: bool, welcomed: bool) -> str:
    """One phrase that says what ended a connection or an attempt to connect.

    tls: whether the client speaks TLS. up: whether the connection was made, its TLS handshake included. welcomed:
    whether the server had accepted the session.
    """
    reason = _root(error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {reason.verify_message}"
    if isinstance(reason, ssl.SSLError) and not isinstance(reason, ssl.SSLEOFError):
        return _tls_reason(reason)
    if isinstance(reason, (anyio.EndOfStream, ssl.SSLEOFError, ConnectionResetError, BrokenPipeError)):
        if welcomed:
            return "it hung up"
        if tls and not up:
            return "it hung up in the TLS handshake: it may speak no TLS at this port"
        if tls:
            return f"{_HUNG_UP}, or expect a certificate, or another one, from this client"
        return f"{_HUNG_UP}, or expect TLS at this port"
    if isinstance(reason, ConnectionError) and reason.errno:
        return os.strerror(reason.errno)
    return str(reason) or "no reply"


def speaks_tls(data: bytes) -> bool:
    """Whether a server's first bytes are a TLS record; as a frame they would announce more than 300 MB."""
    return len(data) > 1 and data[0] in _TLS_RECORDS and data[1] == 3


def _tls_reason(error: ssl.SSLError) -> str:
    said = (error.reason or str(error)).replace("_", " ").lower()
    if "alert" in said and ("unknown ca" in said or "certificate" in said or "handshake failure" in said):
        return f"it expects a certificate, or another one, from this client (TLS: {said})"
    if "wrong version number" in said or "record layer failure" in said:
        return f"it speaks no TLS at this port (TLS: {said})"
    return f"TLS: {said}"


def _root(error: BaseException) -> BaseException:
    # anyio's error says only that every attempt failed, or that a stream broke; the system's error is its cause.
    while error.__cause__ is not None and (
        isinstance(error, anyio.BrokenResourceError) or (isinstance(error, OSError) and error.errno is None)
    ):
        error = error.__cause__
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[-1]
    return error
