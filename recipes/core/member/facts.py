"""What operators ask about a server and its member cannot know: its files, and the ensemble around it."""

Answer = dict[str, object]


class Facts:
    """The answers of a standalone server without files. A shell's subclass overrides those that it knows better."""

    def directories(self) -> tuple[int, int]:
        """Bytes in the directories of the snapshots and of the transaction log."""
        return 0, 0

    def last_snapshot(self) -> tuple[int, int]:
        """The newest snapshot's zxid, and when it was written, in s since 1970."""
        return 0, 0

    def initial_configuration(self) -> str | None:
        """The configuration file the server started with."""
        return None

    def system_properties(self) -> dict[str, str]:
        """Settings of the system it runs on."""
        return {}

    def leader(self) -> Answer | None:
        """is_leader, leader_id and leader_ip; None when there is no ensemble, or no leader yet."""
        return None

    def observers(self) -> list[Answer]:
        """The observers in sync with this server."""
        return []

    def voting_view(self) -> Answer:
        """Every voter by its id: server_addresses, election_addresses, client_address, learner_type."""
        return {}

    def zabstate(self) -> Answer:
        """voting and zabstate; in an ensemble also myid, is_leader, addresses, last_zxid, zab_epoch, zab_counter."""
        return {"voting": False, "zabstate": ""}

    def protocol(self) -> str:
        """How the servers replicate: zab or raft; empty without an ensemble."""
        return ""

    def figures(self) -> dict[str, str | int]:
        """Figures of the ensemble, for `mntr`."""
        return {}
