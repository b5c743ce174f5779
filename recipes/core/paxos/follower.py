"""An acceptor that has promised a ballot: it says what it has accepted before, and then accepts in that ballot.

It takes slot k only behind slot k-1 of the same ballot. So it has accepted its whole log in a ballot once it has the
log that the proposer began with; that is one durable number, behind the entries. What it accepts later is accepted in
that ballot as it comes. stages.py has the stages, and what each takes.
"""

from typing import TYPE_CHECKING

from recipes.core.errors import WireError
from recipes.core.paxos import wire as p
from recipes.core.paxos.stages import FOLLOWER_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.stages import FollowerTable
from recipes.core.replicas.whole_log import WholeLogFollower

if TYPE_CHECKING:
    from recipes.core.paxos.peer import PaxosPeer


class Follower(WholeLogFollower):
    """What a server does while `leader_sid` leads its ballot."""

    table: FollowerTable = FOLLOWER_MESSAGES
    _peer: "PaxosPeer"

    def _introduce(self) -> None:
        super()._introduce()
        peer = self._peer
        if not (peer.settings.observer or peer.is_unsure or peer.abstains):
            last_zxid = peer.history.last_zxid
            self._send(p.encode_promise(peer.term, peer.accepted, last_zxid, peer.committed_zxid))

    def _report(self, learn: p.Learn) -> None:
        """Tell the proposer what this server has accepted behind the entry that it names, or behind the one before."""
        self._check_term(learn.ballot)
        peer = self._peer
        prev_zxid = peer.history.floor(learn.zxid)
        if prev_zxid is None:
            raise WireError(f"LEARN 0x{learn.zxid:x}, which is not known here any more")
        parts = w.batches(peer.history.behind(prev_zxid))
        for number, part in enumerate(parts, 1):
            self._send(p.encode_report(peer.term, prev_zxid, number < len(parts), part))
            prev_zxid = part[-1].zxid if part else prev_zxid

    def _taken(self) -> None:
        """Accept in this ballot, once the log is the one that the ballot began with, or more.

        What stands behind it in the log was accepted in earlier ballots, and cannot be chosen any more: it goes first.
        """
        peer = self._peer
        if self._matched_zxid >= self._initial_zxid and peer.accepted != peer.term and not peer.abstains:
            if peer.history.last_zxid > self._matched_zxid:
                peer.cut(self._matched_zxid)
            peer.accept_log()

    def votes_again(self) -> None:
        """This server takes part again."""
        if self.connected and self._link is not None:
            self._taken()

    def _durable(self) -> int:
        """Up to where this server has accepted in this ballot, on its disk; -1: it has not."""
        return super()._durable() if self._peer.accepted_on_disk == self._peer.term else -1
