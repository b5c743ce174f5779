"""Logs connections that failed: who, where and why, with a limit on the number of lines."""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final

from recipes.core.address import with_port

log: logging.Logger = logging.getLogger("recipes.server")

_MOST_LINES = 10
_WITHIN_S = 1.0
_REPEATED_S = 60.0
_MOST_REMEMBERED = 64
UNFINISHED: Final = "TLS handshakes that are not finished"


class Refusals:
    """Logs lines that strangers can cause: at most ten a second, and one a minute about the same subject.

    What is left out is counted, and said with the next line or a minute later.

    clock: seconds. later(seconds, function): calls the function once, after that time.
    """

    def __init__(
        self, clock: Callable[[], float], later: Callable[[float, Callable[[], None]], object] | None = None
    ) -> None:
        self._clock: Callable[[], float] = clock
        self._later = later
        self._lines: deque[float] = deque(maxlen=_MOST_LINES)  # times of the last lines
        self._said: dict[str, float] = {}  # subject -> time of the last line about it
        self._left_out: int = 0
        self._says_later = False

    def say(self, text: str, about: str = "", level: int = logging.WARNING) -> None:
        """Log this line, unless there were too many lines, or a recent one with the same `about`.

        about: empty where each line counts.
        """
        now = self._clock()
        if (about and now - self._said.get(about, -_REPEATED_S) < _REPEATED_S) or (
            len(self._lines) == _MOST_LINES and now - self._lines[0] < _WITHIN_S
        ):
            self._left_out += 1
            if self._later is not None and not self._says_later:
                self._says_later = True
                self._later(_REPEATED_S, self._say_left_out)
            return
        self._lines.append(now)
        if about:
            self._said[about] = now
            if len(self._said) > _MOST_REMEMBERED:
                del self._said[next(iter(self._said))]
        more = f" ({self._left_out} like it or the ones before were left out)" if self._left_out else ""
        self._left_out = 0
        log.log(level, "%s%s", text, more)

    def _say_left_out(self) -> None:
        self._says_later = False
        if self._left_out:
            log.warning("%s lines like the ones before were left out", self._left_out)
        self._left_out = 0

    def handshake(self, what: str, address: object, error: BaseException) -> None:
        """A TLS handshake at one of our ports failed. what: names the port."""
        reason = handshake_reason(error)
        host = address[0] if isinstance(address, tuple) else address
        self.say(f"{what}: refused {shown(address)}: {reason}", about=f"{what} {host} {reason}")

    def crowded(self, what: str, which: str, address: object, count: int) -> None:
        """The oldest of those that have not said who they are had to go, for a new one. what, which: the port, and of
        what there are too many."""
        self.say(f"{what}: {count} {which}: hung up on the oldest, {shown(address)}", about=f"{what} {which}")


def shown(address: object) -> str:
    """A socket's address in readable form."""
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = str(address[0]), address[1]
        return with_port(host, port)
    return str(address) if address else "a connection that is gone"


def is_of_tls(error: BaseException) -> bool:
    """Whether a TLS handshake failed with this error, rather than the connection before it."""
    return isinstance(error, ssl.SSLError | ConnectionResetError | ConnectionAbortedError)


def handshake_reason(error: BaseException) -> str:
    """Why a TLS handshake failed, from OpenSSL's error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return _tls_reason(error)
    if isinstance(error, TimeoutError | ConnectionAbortedError | asyncio.CancelledError):
        return "no TLS handshake in time"
    return "it hung up in the TLS handshake"


def _tls_reason(error: ssl.SSLError) -> str:
    said = (error.reason or str(error)).replace("_", " ").lower()
    if "did not return a certificate" in said:
        return "it showed no certificate"
    if "verify failed" in said:
        return f"its certificate is not trusted ({said})"
    if "http request" in said or "wrong version number" in said or "unknown protocol" in said:
        return f"it speaks no TLS ({said})"
    if "alert" in said:
        return (
            f"it refused our certificate ({said})" if "ca" in said or "certificate" in said else f"it refused ({said})"
        )
    return said
