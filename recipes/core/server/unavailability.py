"""How long this server does not serve, and how long elections take.

Source: QuorumPeer.java, FastLeaderElection.java.
"""

from recipes.core.member.stats import Stats


class Unavailability:
    """Measures, in ms, each time without a leader, from its parts. `stats` gets the results."""

    def __init__(self) -> None:
        self.stats: Stats = Stats()
        self._since_ms: int | None = None  # when this server began to look for a leader
        self._elected_ms: int | None = None  # when it knew who leads, or leads itself

    def looking(self, stage: str, now_ms: int) -> None:
        """This server does not serve. stage: election, or synchronization once a leader is found."""
        if self._since_ms is None or (stage == "election" and self._elected_ms is not None):
            self.stats.looked += 1  # another election counts as such, not as a longer time without service
            self._since_ms = now_ms if self._since_ms is None else self._since_ms
            self._begun_ms, self._elected_ms = now_ms, None
        if stage != "election" and self._elected_ms is None:
            self._elected_ms = now_ms
            self.stats.election.add(now_ms - self._begun_ms)

    def serving(self, role: str, now_ms: int) -> None:
        """This server serves, as leader, follower or observer."""
        if self._since_ms is None:
            return
        self.stats.unavailable.add(now_ms - self._since_ms)
        if role == "leader":
            self.stats.leader_unavailable.add(now_ms - self._since_ms)
        elif self._elected_ms is not None:
            (self.stats.observed if role == "observer" else self.stats.followed).add(now_ms - self._elected_ms)
        self._since_ms = self._elected_ms = None
