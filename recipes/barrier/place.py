"""A party's place in a round, and what is left of it when the round is over."""

from contextlib import suppress
from typing import TYPE_CHECKING

from recipes.barrier.book import RoundSettings
from recipes.barrier.rounds import MARKER, Notice, decode_notice
from recipes.contender import Contender
from recipes.core.errors import ConnectionLoss, HoldLost, NoNode, RecipesError, StoreError, invariant
from recipes.line import DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from recipes.core.client.call import Call
    from recipes.core.client.client import Client
    from recipes.core.client.view import Node


class Board:
    """The barrier's znode, kept current for one party after another.

    heard: called after each change; it must not wait.
    """

    def __init__(self, client: "Client", path: str) -> None:
        self.heard: Callable[[], None] | None = None
        self._view = client.node_view(path, self._changed)
        self._read: Node | None = None
        self._notice = Notice()

    @property
    def error(self) -> RecipesError | None:
        """Why it is no longer kept current."""
        return self._view.error

    @property
    def is_gone(self) -> bool:
        """Whether there is no such znode, as last read."""
        return self._view.current and self._view.value is None

    async def read(self) -> tuple[Notice, int] | None:
        """The notice, and the zxid of its last change; None if there is no such znode. Raises what ended the view."""
        await self._view.wait_current()
        node = self._view.value
        return None if node is None else (self._decoded(node), node.stat.mzxid)

    def shows(self, number: int) -> bool:
        """Whether the gate of this round is shown, and no change of that has been announced."""
        view = self._view
        if view.error is not None or not view.current or view.value is None:
            return False
        return self._decoded(view.value).shown == number

    def close(self) -> None:
        """Stop watching."""
        self.heard = None
        self._view.close()

    def _decoded(self, node: "Node") -> Notice:
        if node is not self._read:
            self._read, self._notice = node, decode_notice(node.data)
        return self._notice

    def _changed(self) -> None:
        if self.heard is not None:
            self.heard()


class Departure:
    """A place in a round that has ended: its deletion is submitted. And the board, for the next party.

    The deletion goes out with the client's next requests. If that is the create of our place in the next round, one
    multi does both. Once it is confirmed, the board is closed unless the next party has it, so that a barrier that is
    not in use watches nothing.

    number: of the round. members: of the round. node: path of the place.
    """

    def __init__(
        self, client: "Client", number: int, node: str, members: tuple[str, ...] = (), board: Board | None = None
    ) -> None:
        self.number: int = number
        self.members: tuple[str, ...] = members
        self.node: str = node
        self._client = client
        self._board = board
        self._deletion: Call | None = None
        self.delete()

    def delete(self) -> None:
        """Submit the deletion."""
        self._deletion = None
        with suppress(RecipesError):  # the session is over, and our znode goes with it
            self._deletion = self._client.start_delete(self.node, self._heard)
        if self._deletion is None:
            self.close()

    def take_back(self) -> bool:
        """Drop the deletion, if it is the newest of the unsent requests."""
        taken = self._deletion is not None and self._client.session.take_back(self._deletion)
        if taken:
            self._deletion = None
        return taken

    def take_board(self, client: "Client") -> Board | None:
        """The board, for a party with this client; None if it is closed."""
        board = self._board
        if board is None or board.error is not None or client is not self._client:
            return None
        self._board = None
        return board

    def close(self) -> None:
        """Close the board, unless it was taken."""
        board, self._board = self._board, None
        if board is not None:
            board.close()

    def _heard(self, call: "Call") -> None:
        self._deletion = None
        self.close()
        if isinstance(call.error, ConnectionLoss):
            self._client.delete_later(self.node)


class Place(Contender):
    """The znode of a party that waits for the others, in the round with the znode `dir`.

    last: our place in the round before, if its deletion may still be unsent.
    goes_on: whether we come from the round before, with the same others for all we know. Then we list them only if we
    complete the round, or are one too many; else `join` returns an empty line. Our number says so: it is the number of
    znodes that were created in the round before ours.
    sent: called when the create is submitted, for what may go along with it.
    """

    def __init__(
        self, client: "Client", settings: RoundSettings, dir: str, last: Departure | None, goes_on: bool
    ) -> None:
        super().__init__(client, dir, MARKER, HoldLost, acl=settings.acl, label=f"@{settings.name}")
        self._parties = settings.parties
        self._last = last
        self._goes_on = goes_on
        self.sent: Callable[[], None] | None = None

    async def _create_and_list(self) -> "tuple[list[str], RecipesError | None]":
        last, self._last = self._last, None
        if last is not None and not last.take_back():
            last = None
        both = self._start(last)
        if self.sent is not None:
            self.sent()
        listing = None if self._goes_on else self._start_listing()
        order: list[str] | None = None
        try:
            if listing is None:
                await both.result()
            else:  # its reply comes behind the other, so one wake-up serves both
                order = self._order(self._listed(await listing.result()))
        except RecipesError:
            pass
        finally:
            both.abandoned = False  # it is sent in any case, because of the deletion
            refused = self._learned(both)
        invariant(both.done, "a reply came before that to an earlier request")
        if both.error is not None or refused is not None:
            if last is not None and both.error is None and both.value.failed_at == 0:
                return await self._create_and_list()  # somebody else has deleted our last place
            return [], both.error or refused
        number = self.path[-DIGITS:]
        if order is None or self._name not in order:  # in the second case the two went over different connections
            order = [] if self._goes_on and number.isdecimal() and int(number) < self._parties else await self._line()
        return order, None

    def _start(self, last: Departure | None) -> "Call":
        """Ask for the create of our place, and for the deletion of the last one."""

        def heard(call: "Call") -> None:
            is_gone = call.error is None and call.value.failed_at == 0 and isinstance(call.value.error, NoNode)
            if last is not None and (call.error or call.value.error) is not None and not is_gone:
                last.delete()

        multi = self.client.multi()
        try:
            if last is not None:
                multi.delete(last.node)
            multi.create(self._prefix, self._data, ephemeral=True, sequential=True, acl=self._acl)
            call = multi.start(heard)
        except BaseException:
            if last is not None:
                last.delete()
            raise
        self.asked: bool = True
        return call

    def _learned(self, call: "Call") -> RecipesError | None:
        """Record the outcome of the create if it is known; return the refusal, if there was one."""
        refused: RecipesError | None = None
        if call.done and call.error is None:
            refused = call.value.error
            if refused is None:
                self.path: str = str(call.value.results[-1])
        if refused is not None or isinstance(call.error, StoreError):
            self.asked = False  # a create that was refused made nothing
        return refused
