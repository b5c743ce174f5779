"""The places of `Lock(confirm=False)`: one leaves and the next one joins in a single transaction.

Nobody waits for the deletion of such a place, so it goes out with the client's next request. If that is the create of
the next place in the same line, one multi does both, and the servers commit once instead of twice.

Then a number says whether the new place holds. The old place held, so nothing was in front of it. If the new place has
the number after the old one's, nobody has joined the line between the two, and it holds as well. Otherwise the line is
read, as ever.

Source for the numbers: PrepRequestProcessor.java; each create below a parent takes the next one.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from recipes.contender import Contender
from recipes.core.errors import AuthFailed, BadArguments, NoNode, SessionError, StoreError, invariant
from recipes.line import DIGITS

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.errors import RecipesError


class UnconfirmedPlace(Contender):
    """See the module."""

    confirm: bool = False
    _deletion: "Call | None" = None  # until its outcome is known, or the next place takes it back

    @property
    def _slot(self) -> object:
        """The key under which the client's last place in this line is found by the next one."""
        return UnconfirmedPlace, self._parent, self._marker

    def _send_deletion(self) -> "Call":
        self._deletion = super()._send_deletion()
        if self._got:
            self.client.session.shared[self._slot] = self
        return self._deletion

    def _hear_deletion(self, call: "Call") -> None:
        super()._hear_deletion(call)
        self._deletion = None
        if self.client.session.shared.get(self._slot) is self:
            del self.client.session.shared[self._slot]

    def _take_back(self) -> "UnconfirmedPlace | None":
        """The last place, if its deletion is the newest of the unsent requests; it is not sent then."""
        session = self.client.session
        last = session.shared.pop(self._slot, None)
        if not isinstance(last, UnconfirmedPlace) or last._deletion is None or not session.take_back(last._deletion):
            return None
        last._deletion = None
        return last

    def _delete_after_all(self) -> None:
        """The deletion that was taken back has not been made otherwise."""
        with suppress(SessionError, AuthFailed):  # the session is over, and the znode with it
            self.client.start_delete(self.path, self._hear_deletion)

    async def _create_and_list(self) -> "tuple[list[str], RecipesError | None]":
        last = self._take_back()
        both = None if last is None else self._start_both(last)
        if last is None or both is None:
            return await super()._create_and_list()
        expected = f"{self._prefix}{int(last.path[-DIGITS:]) + 1:0{DIGITS}d}"
        # The reply to `both` comes before this one, so one wake-up serves for the two. If we are cancelled here, both
        # writes are made all the same, and then our znode is deleted.
        stat = await self.client.exists(expected)
        invariant(both.done, "a reply came before that to an earlier request")
        if both.error is not None:
            self.asked: bool = not isinstance(both.error, StoreError)
            return [], both.error
        results, _, error = both.value
        if error is not None:  # nothing was done; most often somebody else has deleted the last place
            self.asked = False
            return await super()._create_and_list()
        self.path: str = str(results[1])
        if self.path != expected or stat is None:
            stat = await self.client.exists(self.path)
        if stat is None:
            self._gone()
            return [], None
        self._take(self.path, stat)
        return ([self._name] if self.path == expected else await self._line()), None

    def _start_both(self, last: "UnconfirmedPlace") -> "Call | None":
        """Ask for the deletion of the last place and the create of ours; None if that is too much for one request."""

        def heard(call: "Call") -> None:
            error = call.error or call.value.error
            if error is not None and not isinstance(error, NoNode):
                last._delete_after_all()

        multi = self.client.multi()
        multi.delete(last.path)
        multi.create(self._prefix, self._data, ephemeral=True, sequential=True, acl=self._acl)
        try:
            both = multi.start(heard)
        except BadArguments:
            last._delete_after_all()
            return None
        self.asked = True
        return both
