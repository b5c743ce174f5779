"""A client's view of the store: paths below its chroot, how to submit a request, and how large one may be."""

from collections.abc import Callable

from recipes.core import paths
from recipes.core.client.call import Call
from recipes.core.client.session import Session
from recipes.core.errors import BadArguments
from recipes.core.jute.codec import text

_HEADER_BYTES = 8  # xid and opcode, before every body
# Bytes of setWatches2 beside one path: a new connection must be able to set every watch again.
_RESTORED_WATCH_BYTES = 40


class Namespace:
    """The part of a client that operations, multis and watches use.

    session: the client's current one. submit: queues a request, or raises the error of an unusable client.
    limit_bytes: the longest request, its header included, that the servers take (their jute.maxbuffer).
    """

    def __init__(self, session: Session, submit: Callable[[Call], Call], limit_bytes: int) -> None:
        self.session: Session = session
        self.submit: Callable[[Call], Call] = submit
        self.limit_bytes: int = limit_bytes
        self.chroot: str = ""

    def full(self, path: str) -> bytes:
        """The server's path for this client's `path`. Raises BadArguments for an invalid path, TypeError."""
        if type(path) is not str and not isinstance(path, str):  # the first is cheaper
            raise TypeError(f"path: expected a str, not {type(path).__name__}")
        paths.check(path)
        if not self.chroot:
            return path.encode()
        return (self.chroot if path == "/" else self.chroot + path).encode()

    def shown(self, full: bytes) -> str:
        """This client's path for a server's path."""
        path = text(full)
        if self.chroot and path.startswith(self.chroot):
            return path[len(self.chroot) :] or "/"
        return path

    def check_size(self, call: Call) -> None:
        """Raise BadArguments for a request too large for servers: it would break one connection after the other."""
        size = len(call.body) + _HEADER_BYTES
        if call.watch is not None:
            size = max(size, len(call.watch[1]) + _RESTORED_WATCH_BYTES)
        if size > self.limit_bytes:
            path = call.path if len(call.path) <= 100 else f"{call.path[:100]}..."
            raise BadArguments(
                path,
                f"the request has {size} bytes and was not sent: servers take up to {self.limit_bytes} "
                "(jute.maxbuffer; max_request_bytes of connect)",
            )
