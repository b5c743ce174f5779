"""Atomic commit across databases and services, for threads and processes."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from recipes.blocking.block import Entered
from recipes.blocking.hold import documented_by
from recipes.blocking.portal import Portal, portal_of
from recipes.transaction import coordinator, termination
from recipes.transaction.participant import TransactionParticipant
from recipes.transaction.stats import CoordinatorStats

if TYPE_CHECKING:
    from recipes.blocking.client import Client
    from recipes.core.jute.records import ACL


class EnlistedBranch:
    """A participant's object for a branch, such as a SqlBranch. Its async methods block here until they are done."""

    def __init__(self, portal: Portal, of_tasks: Any) -> None:
        self._portal = portal
        self.of_tasks: Any = of_tasks

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.of_tasks, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return partial(self._call, found)

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return self._portal.call(lambda: method(*arguments, **options))


@documented_by(coordinator.GlobalTransaction)
class GlobalTransaction(Entered[coordinator.GlobalTransaction]):
    """One transaction, in its block; see `Coordinator.begin`."""

    def __repr__(self) -> str:
        return repr(self.of_tasks)

    @property
    def id(self) -> str:
        return self.of_tasks.id

    @property
    def outcome(self) -> str | None:
        return self.of_tasks.outcome

    @property
    def unsettled(self) -> Mapping[str, str]:
        return dict(self.of_tasks.unsettled)

    def enlist(self, name: str) -> Any:
        """Let the participant `name` take part; return what its `begin` returns, for the block to work with.

        Async methods of that object block: `sql = tx.enlist("orders")`, `sql.execute("UPDATE ...")`. Raises what
        recipes.GlobalTransaction.enlist does.
        """
        return _shown(self._portal, self._portal.call(lambda: self.of_tasks.enlist(name)))


@documented_by(coordinator.Coordinator)
class Coordinator(Entered[coordinator.Coordinator]):
    """`with Coordinator(client, "/transactions", participants={...}) as coordinator:`; see recipes.Coordinator.

    Any number of threads may begin transactions. A body cannot be cancelled: after its deadline it goes on, and
    TransactionAborted is raised at its end.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        *,
        participants: Mapping[str, TransactionParticipant],
        name: str | None = None,
        serve: bool = True,
        acl: "Sequence[ACL] | None" = None,
    ) -> None:
        made = coordinator.Coordinator(
            client.of_tasks, path, participants=participants, name=name, serve=serve, acl=acl
        )
        super().__init__(portal_of(client), made)

    @property
    def participants(self) -> Mapping[str, TransactionParticipant]:
        return self.of_tasks.participants

    @property
    def fleet(self) -> str:
        return self.of_tasks.fleet

    def begin(self, *, protocol: str = "2pc", deadline: float = 10.0) -> GlobalTransaction:
        """`with coordinator.begin() as tx:` the block's end commits, an exception aborts.

        See recipes.Coordinator.begin.
        """
        begun = self._portal.run(lambda: self.of_tasks.begin(protocol=protocol, deadline=deadline))
        return GlobalTransaction(self._portal, begun)

    def join(self, transaction: str, name: str) -> Any:
        return _shown(self._portal, self._portal.call(lambda: self.of_tasks.join(transaction, name)))

    def stats(self) -> CoordinatorStats:
        return self._portal.run(self.of_tasks.stats)


@documented_by(termination.Termination)
class Termination(Entered[termination.Termination]):
    """`with Termination(client, "/transactions", {"files": participant}):` end branches that waited too long.

    See recipes.Termination. It runs in the client's thread.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        participants: Mapping[str, TransactionParticipant],
        *,
        name: str | None = None,
        after: float = 10.0,
        on_timeout: termination.OnTimeout = "ask",
    ) -> None:
        made = termination.Termination(
            client.of_tasks, path, participants, name=name, after=after, on_timeout=on_timeout
        )
        super().__init__(portal_of(client), made)


def _shown(portal: Portal, found: Any) -> Any:
    waits = any(inspect.iscoroutinefunction(member) for _, member in inspect.getmembers_static(type(found)))
    return EnlistedBranch(portal, found) if waits else found
