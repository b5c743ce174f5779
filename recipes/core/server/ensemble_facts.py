"""A server's figures about its ensemble, for operators. Source: Commands.java, QuorumPeer.java."""

from time import monotonic_ns

from recipes.core.config import ServerConfig
from recipes.core.member.admin import NOT_SERVING
from recipes.core.member.facts import Answer
from recipes.core.server.facts import ServerFacts
from recipes.core.zab.membership import Server
from recipes.core.zab.peer import ZabPeer
from recipes.core.zxid import counter_of, epoch_of


class EnsembleFacts(ServerFacts):
    """Facts of a server that is a member of an ensemble.

    leading_since_ms: when the server last began to lead, by the monotonic clock.
    """

    def __init__(self, config: ServerConfig, peer: ZabPeer) -> None:
        super().__init__(config)
        self.leading_since_ms = 0
        self._peer = peer
        self._servers = peer.settings.membership.servers

    def leader(self) -> Answer | None:
        """The leader; an error while this server does not serve."""
        peer = self._peer
        if not peer.serving:
            return {"error": NOT_SERVING}
        sid = peer.learner.leader_sid if peer.learner is not None else peer.settings.sid
        return {"is_leader": peer.leader is not None, "leader_id": sid, "leader_ip": self._servers[sid].host}

    def observers(self) -> list[Answer]:
        """The observers in sync with this server, if it leads."""
        synced = self._peer.leader.synced() if self._peer.leader is not None else []
        return [{"sid": learner.sid} for learner in synced if learner.observer]

    def voting_view(self) -> Answer:
        """Every voter and its addresses."""
        return {str(sid): self._view(self._servers[sid]) for sid in self._peer.settings.membership.voters}

    def zabstate(self) -> Answer:
        """This server's state in the protocol."""
        peer, own = self._peer, self._servers[self._peer.settings.sid]
        zxid = max(peer.history.last_zxid, 0)
        return {
            "myid": own.sid,
            "is_leader": peer.leader is not None,
            "quorum_address": f"{own.host}:{own.quorum_port}",
            "election_address": f"{own.host}:{own.election_port}",
            "client_address": self._client_address(),
            "voting": not own.observer,
            "last_zxid": f"0x{zxid:x}",
            "zab_epoch": epoch_of(zxid),
            "zab_counter": counter_of(zxid),
            "zabstate": self._zab_state(),
        }

    def figures(self) -> dict[str, str | int]:
        """The figures that Apache's servers report about an ensemble."""
        peer = self._peer
        role = {"leader": "leading", "follower": "following", "observer": "observing"}.get(peer.role, peer.role)
        figures: dict[str, str | int] = {
            "peer_state": f"{role} - {self._zab_state()}",
            "quorum_size": len(peer.settings.membership.voters),
        }
        if peer.leader is not None:
            synced = peer.leader.synced()
            followers = [learner for learner in synced if not learner.observer]
            figures |= {
                "learners": len(synced),
                "synced_followers": sum(learner.voter for learner in followers),
                "synced_non_voting_followers": sum(not learner.voter for learner in followers),
                "synced_observers": len(synced) - len(followers),
                "pending_syncs": peer.leader.pending_syncs,
                "leader_uptime": monotonic_ns() // 1_000_000 - self.leading_since_ms,
            }
        elif peer.learner is not None and self._servers[peer.settings.sid].observer:
            figures["observer_master_id"] = peer.learner.leader_sid
        return figures

    def _zab_state(self) -> str:
        peer = self._peer
        if peer.serving:
            return "broadcast"
        return "election" if peer.leader is None and peer.learner is None else "synchronization"

    def _view(self, server: Server) -> Answer:
        own = server.sid == self._peer.settings.sid
        return {
            "server_addresses": [f"{server.host}:{server.quorum_port}"],
            "election_addresses": [f"{server.host}:{server.election_port}"],
            "client_address": self._client_address() if own else server.client,
            "learner_type": "observer" if server.observer else "participant",
        }

    def _client_address(self) -> str:
        port = self.config.client_port
        return "" if port is None else f"{self.config.client_address}:{port}"
