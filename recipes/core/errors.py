"""Every exception of the library, and the check that stops a server whose invariant broke.

The store's errors carry ZooKeeper's code (KeeperException.Code) and the path they are about. The text of an error
comes from its class's `meaning`, not from a docstring: -OO removes docstrings.
"""

from typing import ClassVar, NoReturn

from recipes.core import codes


class RecipesError(Exception):
    """Root of everything this library raises on purpose.

    Copies and pickles keep the class, the text and the attributes, also for subclasses with an `__init__` of their own.
    As with every exception, they lose the traceback and the cause.
    """

    def __reduce__(self) -> tuple[object, ...]:
        # `__init__` is not called again: its parameters need not be those in `args`.
        return _restored, (type(self), self.args), self.__dict__.copy()


def _restored(cls: type[RecipesError], args: tuple[object, ...]) -> RecipesError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class StoreError(RecipesError):
    """A server answered "no".

    path: the znode that the request names, "" where it names none.
    message: more about the reason, "" where there is nothing more to say.
    code: ZooKeeper's error code, fixed by the class.
    meaning: what the code says, fixed by the class; a subclass has its parent's unless it sets its own.
    """

    code: int = -1
    meaning: ClassVar[str] = "The server refused the request"
    by_code: ClassVar[dict[int, type["StoreError"]]] = {}
    path: str = ""
    message: str = ""

    def __init__(self, path: str = "", message: str = "") -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __init_subclass__(cls, code: int | None = None) -> None:
        if code is not None:
            cls.code = code
            StoreError.by_code[code] = cls

    def __str__(self) -> str:
        return _text(self.meaning, self.path, self.message)


class RuntimeInconsistency(StoreError, code=codes.RUNTIME_INCONSISTENCY):
    """An operation of a multi was not attempted, because an earlier one of the same multi failed."""

    meaning = "Not attempted, because an earlier operation of the same multi failed"


class MarshallingError(StoreError, code=codes.MARSHALLING_ERROR):
    """The server could not decode the request."""

    meaning = "The server could not decode the request"


class Unimplemented(StoreError, code=codes.UNIMPLEMENTED):
    """The server does not know this operation, or has it switched off."""

    meaning = "The server does not know this operation, or has it switched off"


class BadArguments(StoreError, ValueError, code=codes.BAD_ARGUMENTS):
    """An argument is not valid.

    The client checks arguments before it sends: `message` then names the argument, the value and what was expected. If
    a server refuses an argument, there is no message. This is also a ValueError, Python's class for such errors.
    """

    meaning = "An argument is not valid"

    def __str__(self) -> str:
        if not self.message:
            return super().__str__()
        return f"{self.path!r}: {self.message}" if self.path else self.message


class NoNode(StoreError, code=codes.NO_NODE):
    """The znode that a request names does not exist; for a create, its parent does not."""

    meaning = "There is no such znode"


class NoAuth(StoreError, code=codes.NO_AUTH):
    """None of the identities of this client has the permission that the request needs."""

    meaning = "The ACL does not permit this"


class BadVersion(StoreError, code=codes.BAD_VERSION):
    """`version=` of a write is not the version of the znode: somebody else has written since it was read."""

    meaning = "The znode has another version than the one expected"


class NoChildrenForEphemerals(StoreError, code=codes.NO_CHILDREN_FOR_EPHEMERALS):
    """A create below an ephemeral znode: it cannot have children."""

    meaning = "An ephemeral znode cannot have children"


class NodeExists(StoreError, code=codes.NODE_EXISTS):
    """A create of a znode that exists."""

    meaning = "The znode exists already"


class NotEmpty(StoreError, code=codes.NOT_EMPTY):
    """A delete of a znode that has children."""

    meaning = "The znode has children"


class InvalidACL(StoreError, code=codes.INVALID_ACL):
    """The ACL of a create or `set_acl` is empty, or names a scheme or an id that is not valid."""

    meaning = "The ACL is empty, or names a scheme or id that is not valid"


class AuthFailed(StoreError, code=codes.AUTH_FAILED):
    """The server refused the credentials of `auth=` or `add_auth`."""

    meaning = "The server refused the credentials"


class NotReadOnly(StoreError, code=codes.NOT_READ_ONLY):
    """A write or `sync` at a server that is read-only at the moment, since it has no leader."""

    meaning = "The server is read-only at the moment"


class EphemeralOnLocalSession(StoreError, code=codes.EPHEMERAL_ON_LOCAL_SESSION):
    """A local session cannot own ephemeral znodes."""

    meaning = "A local session cannot own ephemeral znodes"


class NoWatcher(StoreError, code=codes.NO_WATCHER):
    """There is no such watch."""

    meaning = "There is no such watch"


class ReconfigDisabled(StoreError, code=codes.RECONFIG_DISABLED):
    """Reconfiguration is switched off."""

    meaning = "Reconfiguration is switched off"


class SessionClosedRequireAuth(StoreError, code=codes.SESSION_CLOSED_REQUIRE_AUTH):
    """The server insists on authentication first."""

    meaning = "The server insists on authentication first"


class QuotaExceeded(StoreError, code=codes.QUOTA_EXCEEDED):
    """A create or `set` that would pass a hard limit of a quota above the znode, or the servers' limit on memory.

    At the latter the log of the leader names `storeMemoryLimitInMb`.
    """

    meaning = "The quota of this subtree is used up, or the memory that the servers may use for the store"


class ThrottledOp(StoreError, code=codes.THROTTLED_OP):
    """The server was too busy to carry the request out."""

    meaning = "The server was too busy to carry the request out"


class UnknownStoreError(StoreError):
    """The server answered with a code this client does not know: `code`."""

    meaning = "The server answered with a code this client does not know"

    def __init__(self, code: int, path: str = "") -> None:
        RecipesError.__init__(self, code, path)  # what repr shows
        self.code = code
        self.path: str = path
        self.message: str = f"code {code}"


def store_error(code: int, path: str = "") -> RecipesError:
    """The exception for a non-zero error code of a reply."""
    if code == SessionExpired.code:
        return SessionExpired(path=path)
    if code == ConnectionLoss.code:
        return ConnectionLoss(path=path)
    found = StoreError.by_code.get(code)
    return UnknownStoreError(code, path) if found is None else found(path)


class SessionError(RecipesError):
    """The connection or the session failed, not the request."""


class ConnectionLoss(SessionError):
    """The connection broke while a request was under way.

    maybe_applied: True for a write that had been sent: the server may have carried it out or may still
    do so. The client never sends such a write again by itself.
    """

    code: ClassVar[int] = codes.CONNECTION_LOSS
    path: str = ""
    maybe_applied: bool = False

    def __init__(self, message: str = "connection lost", *, path: str = "", maybe_applied: bool = False) -> None:
        doubt = "; it may have been applied" if maybe_applied else ""
        super().__init__(f"{message}{': ' + path if path else ''}{doubt}")
        self.path = path
        self.maybe_applied = maybe_applied


class SessionExpired(SessionError):
    """The session is over: its ephemeral znodes are gone, or soon will be."""

    code: ClassVar[int] = codes.SESSION_EXPIRED
    path: str = ""

    def __init__(self, message: str = "session expired", *, path: str = "") -> None:
        super().__init__(f"{message}{': ' + path if path else ''}")
        self.path = path


class ClientClosed(SessionError):
    """The client was used outside its `async with` block."""


class WireError(RecipesError):
    """Bytes from a socket break the protocol."""


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
        self.key: str = key
        self.value: object = value
        self.expected: str = expected
        self.source: str | None = source
        self.line: int | None = line


class _OfRecipe(RecipesError):
    """An error of a recipe. path: the path it is about. message: more about the reason."""

    meaning: ClassVar[str] = ""
    path: str = ""
    message: str = ""

    def __init__(self, path: str, message: str = "") -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return _text(self.meaning, self.path, self.message)


class HoldLost(_OfRecipe):
    """A hold, such as a lock or leadership, was lost against the will of its holder.

    path: the path the recipe is about. message: why it was lost.
    """

    meaning = "The hold was lost"


class LockLost(HoldLost):
    """The lock was lost.

    The block has been cancelled; if it had not begun, the session was lost during the wait for the lock.
    """

    meaning = "The lock was lost"


class LeadershipLost(HoldLost):
    """Leadership was lost.

    The block has been cancelled; if it had not begun, the session was lost during the wait for leadership.
    """

    meaning = "Leadership was lost"


class MembershipLost(HoldLost):
    """The membership of a group was lost.

    The block has been cancelled; if it had not begun, the session was lost while joining.
    """

    meaning = "The membership was lost"


class TransactionAborted(_OfRecipe):
    """The transaction did not commit, and no branch of it will. path: its id. message: who refused, and why."""

    meaning = "The transaction was aborted"


class TransactionInDoubt(_OfRecipe):
    """The outcome of the transaction could not be learned: another coordinator decides it, and all branches follow.

    path: its id. message: why.
    """

    meaning = "The outcome of the transaction is not known here"


class ParticipantError(_OfRecipe):
    """A participant cannot be reached, or gave no answer that can be understood.

    path: its name at the coordinator, or its address. message: what came instead. status: of its HTTP answer, None
    where there was none.
    """

    meaning = "The participant gave no answer, or none that can be understood"
    status: int | None = None


class UnknownTransaction(_OfRecipe):
    """No such transaction: it was never recorded, or it is over. path: its id. message: where it was looked for."""

    meaning = "There is no such transaction"


class SettingsDiffer(_OfRecipe):
    """The users of one path do not agree on the settings of its recipe. message: the settings of both sides."""

    meaning = "The users of this path do not agree on its settings"


class MalformedValue(_OfRecipe):
    """A znode holds other data than this recipe stores. message: what it holds, and what was expected."""

    meaning = "The znode does not hold a value of this recipe"


class UpdateConflict(_OfRecipe):
    """Others changed the data that an update had read, at each attempt. Nothing was written."""

    meaning = "Others changed the data at each attempt"


class BrokenBarrier(_OfRecipe):
    """The round of a barrier was broken.

    round: its number. who: the party that broke it, as it named itself; "" when nobody knows.
    """

    meaning = "The round of the barrier was broken"
    round: int = 0
    who: str = ""

    def __init__(self, path: str, message: str = "", *, round: int = 0, who: str = "") -> None:
        super().__init__(path, message)
        self.round = round
        self.who = who


class BarrierFull(_OfRecipe):
    """All places of the barrier are taken, and its parties are all inside."""

    meaning = "All places of the barrier are taken"


class QueueFull(_OfRecipe):
    """The queue holds as many items as it may."""

    meaning = "The queue is full"


class AckLost(HoldLost):
    """The claim on an item was lost, so that it could not be acknowledged.

    The item is handed out again, unless somebody else has it already. The block has been cancelled if it still ran.
    """

    meaning = "The claim on the item was lost"


class InvariantBroken(RecipesError):
    """Something that cannot happen has happened. The server that finds it stops: a dead member is safe."""


def _text(meaning: str, path: str, message: str) -> str:
    return f"{meaning}{f': {path}' if path else ''}{f' ({message})' if message else ''}"


def invariant(holds: object, message: str = "invariant broken") -> None:
    """Raise InvariantBroken unless `holds`. Unlike `assert` it stays under -O."""
    if not holds:
        _broken(message)


def _broken(message: str) -> NoReturn:
    raise InvariantBroken(message)
