"""Opening of participants: a coordinator starts even if one is away, and goes on trying to open that participant.

A lasting error, such as wrong settings of a server, is raised at once: nobody should have to look for it in a log.
"""

import logging
from collections.abc import Mapping
from random import Random

import anyio

from recipes.core.client.backoff import pauses
from recipes.core.errors import ParticipantError, RecipesError, SessionError
from recipes.transaction import asking
from recipes.transaction.participant import TransactionParticipant

log: logging.Logger = logging.getLogger("recipes.transaction")

_SHORTEST_SECONDS, _LONGEST_SECONDS = 1.0, 30.0  # between two tries
_LATER = (408, 429)  # HTTP statuses below 500 that are temporary
# Exceptions of PEP 249: the database has answered, and will give the same answer again.
_WRONG_FOR_GOOD = frozenset({"ProgrammingError", "NotSupportedError", "IntegrityError", "DataError"})


def is_away(error: BaseException) -> bool:
    """Whether an error of a participant means that it cannot be reached now, so that a later try may succeed.

    True for OSError and SessionError; for ParticipantError without a status or with 5xx, 408 or 429; and for exceptions
    of a library, such as OperationalError of PEP 249, but not those of PEP 249 that are final. False for all other
    errors of this package and of Python.
    """
    if isinstance(error, ParticipantError):
        return error.status is None or error.status >= 500 or error.status in _LATER
    if isinstance(error, RecipesError):
        return isinstance(error, SessionError)
    if isinstance(error, OSError):
        return True
    if _WRONG_FOR_GOOD & {kind.__name__ for kind in type(error).__mro__}:
        return False
    return type(error).__module__ != "builtins"


def in_words(error: BaseException) -> str:
    """The type and the text of an error, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


class Opening:
    """The opening of one participant.

    opened: whether its `open` has succeeded, or it has none. error: what the last try raised; None if it raised nothing
    or was cancelled.
    """

    def __init__(self, name: str, participant: TransactionParticipant) -> None:
        self.name: str = name
        self._open = getattr(participant, "open", None)
        self.opened: bool = self._open is None
        self.error: Exception | None = None
        self._trying: anyio.Event | None = None  # set at the end of the try that is under way

    async def attempt(self) -> None:
        """Try once, for 5 s at most, or wait for the end of the try that is under way. Raises nothing."""
        if self._trying is not None:
            await self._trying.wait()
            return
        if self._open is None or self.opened:
            return
        self._trying, self.error = anyio.Event(), None
        try:
            with anyio.fail_after(asking.ASK_SECONDS):
                await self._open()
            self.opened = True
        except TimeoutError as error:
            self.error = error if str(error) else TimeoutError(f"no answer within {asking.ASK_SECONDS:.3g} s")
        except Exception as error:  # a participant may raise anything
            self.error = error
        finally:
            ended, self._trying = self._trying, None
            ended.set()

    async def ensure(self) -> None:
        """Return once the participant is open; try again if it is not. Raises ParticipantError, which names it."""
        while not self.opened:
            await self.attempt()
            if self.error is not None and not self.opened:
                raise ParticipantError(self.name, in_words(self.error)) from self.error


class Openings:
    """The openings of all participants of one coordinator process. random: the client's own."""

    def __init__(self, participants: Mapping[str, TransactionParticipant], random: Random) -> None:
        self._openings = {name: Opening(name, participant) for name, participant in participants.items()}
        self._random = random
        self._said: dict[str, str] = {}
        self._stopped = False
        self._scope: anyio.CancelScope | None = None  # a coordinator may be made where no event loop runs

    @property
    def away(self) -> list[str]:
        """Names of the participants that have not been opened yet."""
        return sorted(name for name, opening in self._openings.items() if not opening.opened)

    async def begin(self) -> None:
        """Try each participant once, all at the same time. Raises an error that does not mean "away"; see `is_away`."""
        wrong: list[tuple[str, Exception]] = []

        async def attempt(opening: Opening) -> None:
            await opening.attempt()
            if opening.error is not None and not is_away(opening.error):
                wrong.append((opening.name, opening.error))
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for opening in self._openings.values():
                if not opening.opened:
                    group.start_soon(attempt, opening)
        if wrong:
            name, error = wrong[0]
            error.add_note(f"the participant {name!r}")
            raise error
        self._tell()

    async def ensure(self, name: str) -> None:
        """See Opening.ensure."""
        opening = self._openings[name]
        if not opening.opened:
            await opening.ensure()

    async def run(self) -> None:
        """Try participants that are away again, until all are open or `stop` is called. Raises nothing."""
        with anyio.CancelScope() as self._scope:
            async with anyio.create_task_group() as group:
                if self._stopped:
                    return
                for name in self.away:
                    group.start_soon(self._insist, self._openings[name])

    def stop(self) -> None:
        """Try no more."""
        self._stopped = True
        if self._scope is not None:
            self._scope.cancel()

    async def _insist(self, opening: Opening) -> None:
        rests = pauses(self._random, shortest=_SHORTEST_SECONDS, longest=_LONGEST_SECONDS, least=0.5)
        while not opening.opened:
            await anyio.sleep(next(rests))
            await opening.attempt()
            self._tell()

    def _tell(self) -> None:
        """Log each change once."""
        for name, opening in self._openings.items():
            if opening.opened:
                if self._said.pop(name, ""):
                    log.info("the participant %s is back, its transactions go on", name)
            elif opening.error is not None and self._said.get(name) != (said := in_words(opening.error)):
                self._said[name] = said
                if is_away(opening.error):
                    log.warning("the participant %s is away, its transactions wait: %s", name, said)
                else:
                    log.error("the participant %s must be corrected, its transactions wait: %s", name, said)
