"""Every exception of the library, and the check that stops a server whose invariant broke.

The store's errors carry ZooKeeper's code (KeeperException.Code) and the path they are about.
"""

from typing import ClassVar, NoReturn


class RecipesError(Exception):
    """Root of everything this library raises on purpose."""


class StoreError(RecipesError):
    """A server answered "no".

    path: the znode the request was about, "" where it was about none.
    code: ZooKeeper's error code, fixed by the class.
    """

    code: ClassVar[int] = -1
    by_code: ClassVar[dict[int, type["StoreError"]]] = {}

    def __init__(self, path: str = "", message: str = "") -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __init_subclass__(cls, code: int | None = None) -> None:
        if code is not None:
            cls.code = code
            StoreError.by_code[code] = cls

    def __str__(self) -> str:
        said = (type(self).__doc__ or type(self).__name__).splitlines()[0].rstrip(".")
        where = f": {self.path}" if self.path else ""
        why = f" ({self.message})" if self.message else ""
        return f"{said}{where}{why}"


class RuntimeInconsistency(StoreError, code=-2):
    """Not attempted, because an earlier operation of the same multi failed."""


class MarshallingError(StoreError, code=-5):
    """The server could not decode the request."""


class Unimplemented(StoreError, code=-6):
    """The server does not know this operation, or has it switched off."""


class BadArguments(StoreError, code=-8):
    """An argument is not valid."""


class NoNode(StoreError, code=-101):
    """There is no such znode."""


class NoAuth(StoreError, code=-102):
    """The ACL does not permit this."""


class BadVersion(StoreError, code=-103):
    """The znode has another version than the one expected."""


class NoChildrenForEphemerals(StoreError, code=-108):
    """An ephemeral znode cannot have children."""


class NodeExists(StoreError, code=-110):
    """There is such a znode already."""


class NotEmpty(StoreError, code=-111):
    """The znode has children."""


class InvalidACL(StoreError, code=-114):
    """The ACL is empty, or names a scheme or id that is not valid."""


class AuthFailed(StoreError, code=-115):
    """The server refused the credentials."""


class NotReadOnly(StoreError, code=-119):
    """The server is read-only at the moment."""


class EphemeralOnLocalSession(StoreError, code=-120):
    """A local session cannot own ephemeral znodes."""


class NoWatcher(StoreError, code=-121):
    """There is no such watch."""


class ReconfigDisabled(StoreError, code=-123):
    """Reconfiguration is switched off."""


class SessionClosedRequireAuth(StoreError, code=-124):
    """The server insists on authentication first."""


class QuotaExceeded(StoreError, code=-125):
    """The quota of this subtree is used up."""


class ThrottledOp(StoreError, code=-127):
    """The server was too busy to carry the request out."""


class UnknownStoreError(StoreError):
    """The server answered with a code this client does not know."""

    def __init__(self, code: int, path: str = "") -> None:
        super().__init__(path, f"code {code}")
        self.code = code  # type: ignore[misc]


def store_error(code: int, path: str = "") -> RecipesError:
    """The exception for a non-zero error code of a reply."""
    if code == SessionExpired.code:
        return SessionExpired(path=path)
    if code == ConnectionLoss.code:
        return ConnectionLoss(path=path)
    found = StoreError.by_code.get(code)
    return UnknownStoreError(code, path) if found is None else found(path)


class SessionError(RecipesError):
    """The connection or the session is the trouble, not the request."""


class ConnectionLoss(SessionError):
    """The connection broke while a request was under way.

    maybe_applied: True for a write that had been sent: the server may have carried it out or may still
    do so. The client never sends such a write again by itself.
    """

    code = -4

    def __init__(self, message: str = "connection lost", *, path: str = "", maybe_applied: bool = False) -> None:
        doubt = "; it may have been applied" if maybe_applied else ""
        super().__init__(f"{message}{': ' + path if path else ''}{doubt}")
        self.path = path
        self.maybe_applied = maybe_applied


class SessionExpired(SessionError):
    """The session is over: its ephemeral znodes are gone, or soon will be."""

    code = -112

    def __init__(self, message: str = "session expired", *, path: str = "") -> None:
        super().__init__(f"{message}{': ' + path if path else ''}")
        self.path = path


class ClientClosed(SessionError):
    """The client was used outside its `async with` block."""


class WireError(RecipesError):
    """Bytes that came over a socket are not what the protocol says."""


class DiskError(RecipesError):
    """A data directory cannot be used as it is: damaged, locked by another server, or out of reach."""


class ConfigError(RecipesError):
    """A setting has a value that is not valid, or is missing: `value` is None then.

    source, line: where it stands (a file's path and line number), when it came from a file.
    """

    def __init__(
        self, key: str, value: object, expected: str, *, source: str | None = None, line: int | None = None
    ) -> None:
        where = f"{source}:{line}: " if source and line else f"{source}: " if source else ""
        what = f"{key} is missing" if value is None else f"{key}={value}"
        super().__init__(f"{where}{what}: expected {expected}")
        self.key, self.value, self.expected, self.source, self.line = key, value, expected, source, line


class RecipeError(RecipesError):
    """A recipe could not keep its promise."""

    def __init__(self, path: str, message: str = "") -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        said = (type(self).__doc__ or "").splitlines()[0].rstrip(".")
        return f"{said}: {self.path}{f' ({self.message})' if self.message else ''}"


class LockLost(RecipeError):
    """The lock was lost.

    Its block has been cancelled, unless it had not begun: then the session was lost while it waited for the lock.
    """


class LeadershipLost(RecipeError):
    """Leadership was lost.

    Its block has been cancelled, unless it had not begun: then the session was lost while it waited for leadership.
    """


class SettingsDiffer(RecipeError):
    """The users of this path do not agree on its settings."""


class BrokenBarrier(RecipeError):
    """The round of the barrier was broken.

    round: its number. who: the party that broke it, as it named itself; "" when nobody knows.
    """

    def __init__(self, path: str, message: str = "", *, round: int = 0, who: str = "") -> None:
        super().__init__(path, message)
        self.round = round
        self.who = who


class BarrierFull(RecipeError):
    """All places of the barrier are taken, and its parties are all inside."""


class InvariantBroken(RecipesError):
    """Something that cannot happen has happened. The server that finds it stops: a dead member is safe."""


def invariant(holds: object, message: str = "invariant broken") -> None:
    """Raise InvariantBroken unless `holds`. Unlike `assert` it stays under -O."""
    if not holds:
        _broken(message)


def _broken(message: str) -> NoReturn:
    raise InvariantBroken(message)
