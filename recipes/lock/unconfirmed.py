"""The places of `Lock(confirm=False)`: one leaves and the next one joins in a single transaction.

Nobody waits for the deletion of such a place, so it goes out with the client's next request. If that is the create of
the next place in the same line, one multi does both, and the servers commit once instead of twice.

Then a number says whether the new place holds. The old place held, so nothing was in front of it. If the new place has
the number after the old one's, nobody has joined the line between the two, and it holds as well. Otherwise the line is
read, as ever.

Source for the numbers: PrepRequestProcessor.java; each create below a parent takes the next one.
"""

from typing import TYPE_CHECKING

from recipes.contender import Contender
from recipes.core.errors import NoNode, StoreError, invariant
from recipes.line import DIGITS

if TYPE_CHECKING:
    from recipes.core.client.call import Call
    from recipes.core.client.multi import Outcome
    from recipes.core.errors import RecipesError


class UnconfirmedPlace(Contender):
    """See the module."""

    confirm = False
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

    def _take_back(self) -> str:
        """The path of the last place, if its deletion has not been sent, and now is not going to be; else ""."""
        last = self.client.session.shared.pop(self._slot, None)
        if not isinstance(last, UnconfirmedPlace) or last._deletion is None or last._deletion.sent_at:
            return ""
        last._deletion.abandoned, last._deletion = True, None
        return last.path

    async def _create_and_list(self) -> "tuple[list[str], RecipesError | None]":
        last = self._take_back()
        if not last:
            return await super()._create_and_list()
        outcome: Outcome | None = None
        try:
            multi = self.client.multi()
            multi.delete(last)
            multi.create(self._prefix, self._data, ephemeral=True, sequential=True, acl=self._acl)
            both = multi.start()
            self.asked = True
            expected = f"{self._prefix}{int(last[-DIGITS:]) + 1:0{DIGITS}d}"
            try:
                # The multi's reply comes before this one, so one wake-up serves both.
                stat = await self.client.exists(expected)
            finally:
                both.abandoned = not both.done
            invariant(both.done, "a reply came before that to an earlier request")
            if both.error is not None:
                self.asked = not isinstance(both.error, StoreError)
                return [], both.error
            outcome = both.value
        finally:
            if outcome is None or (outcome.error is not None and not isinstance(outcome.error, NoNode)):
                self.client.delete_later(last)
        if outcome.error is not None:  # nothing was done; most often somebody else has deleted the last place
            self.asked = False
            return await super()._create_and_list()
        self.path = str(outcome.results[1])
        if self.path != expected or stat is None:
            stat = await self.client.exists(self.path)
        if stat is not None:
            self._take(self.path, stat)
            if self.path == expected:
                return [self._name], None
        return await self._line(), None
