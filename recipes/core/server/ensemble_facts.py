"""A server's figures about its ensemble, for operators. Source: Commands.java, QuorumPeer.java."""

from time import monotonic_ns

from recipes.core.address import java_host, java_host_port
from recipes.core.config import ServerConfig
from recipes.core.member.admin import NOT_SERVING
from recipes.core.member.facts import Answer
from recipes.core.quorum import QuorumServer
from recipes.core.replication import Replica, ReplicaSettings
from recipes.core.server.facts import ServerFacts
from recipes.core.zxid import counter_of, epoch_of

_ROLES = {"leader": "leading", "follower": "following", "observer": "observing"}  # as `peer_state` names them


class EnsembleFacts(ServerFacts):
    """Facts of a server that is a member of an ensemble.

    leading_since_ms: when the server last began to lead, by the monotonic clock.
    """

    def __init__(self, config: ServerConfig, settings: ReplicaSettings, replica: Replica) -> None:
        super().__init__(config)
        self.leading_since_ms = 0
        self._replica = replica
        self._settings = settings
        self._servers = settings.membership.servers

    def leader(self) -> Answer | None:
        """The leader; an error while this server does not serve."""
        sid = self._replica.status().leader
        if sid is None or not self._replica.serving:
            return {"error": NOT_SERVING}
        return {
            "is_leader": sid == self._settings.sid,
            "leader_id": sid,
            "leader_ip": java_host(self._servers[sid].host),
        }

    def observers(self) -> list[Answer]:
        """The observers in sync with this server, if it leads."""
        return [{"sid": learner.sid} for learner in self._replica.status().learners if learner.observer]

    def voting_view(self) -> Answer:
        """Every voter and its addresses."""
        return {str(sid): self._view(self._servers[sid]) for sid in self._settings.membership.voters}

    def zabstate(self) -> Answer:
        """This server's state in the protocol."""
        status, own = self._replica.status(), self._servers[self._settings.sid]
        zxid = max(status.last_zxid, 0)
        return {
            "myid": own.sid,
            "is_leader": status.leader == own.sid,
            "quorum_address": _addresses(own.host, own.quorum_port),
            "election_address": _addresses(own.host, own.election_port),
            "client_address": self._client_address(),
            "voting": not own.observer,
            "last_zxid": f"0x{zxid:x}",
            "zab_epoch": epoch_of(zxid),
            "zab_counter": counter_of(zxid),
            "zabstate": status.stage,
        }

    def protocol(self) -> str:
        """How the servers replicate."""
        return self.config.replication

    def figures(self) -> dict[str, str | int]:
        """The figures that Apache's servers report about an ensemble, and those of any server."""
        role, status, own = self._replica.role, self._replica.status(), self._settings.sid
        figures: dict[str, str | int] = super().figures() | {
            "peer_state": f"{_ROLES.get(role, role)} - {status.stage}",
            "quorum_size": len(self._settings.membership.voters),
            "diff_count": status.diffs_sent,
            "protocol": self.protocol(),
        }
        if status.leader == own:
            followers = [learner for learner in status.learners if not learner.observer]
            figures |= {
                "learners": len(status.learners),
                "synced_followers": sum(learner.voter for learner in followers),
                "synced_non_voting_followers": sum(not learner.voter for learner in followers),
                "synced_observers": len(status.learners) - len(followers),
                "pending_syncs": status.pending_syncs,
                "leader_uptime": monotonic_ns() // 1_000_000 - self.leading_since_ms,
            }
        elif status.leader is not None and self._servers[own].observer:
            figures["observer_master_id"] = status.leader
        return figures

    def _view(self, server: QuorumServer) -> Answer:
        own = server.sid == self._settings.sid
        return {
            "server_addresses": [java_host_port(each.host, each.quorum_port) for each in server.addresses],
            "election_addresses": [java_host_port(each.host, each.election_port) for each in server.addresses],
            "client_address": self._client_address() if own else server.client,
            "learner_type": "observer" if server.observer else "participant",
        }

    def _client_address(self) -> str:
        port = self.config.client_port
        return "" if port is None else java_host_port(self.config.client_address, port)


def _addresses(host: str, port: int) -> Answer:
    """The one address of a server's port, in all of the ways in which Apache's servers can have several."""
    shown = java_host_port(host, port)
    return {
        "empty": False,
        "all_addresses": [shown],
        "all_reachable_addresses": [shown],
        "one": shown,
        "reachable_address": shown,
        "wildcard_addresses": [java_host_port("0.0.0.0", port)],
        "all_ports": [port],
        "all_host_strings": [java_host(host)],
        "all_reachable_addresses_or_all": [shown],
        "reachable_or_one": shown,
    }
