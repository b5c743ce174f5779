"""What a leader knows of one follower."""

from collections.abc import Mapping
from typing import Any, Final

from recipes.core.history import History
from recipes.core.link import Link
from recipes.core.replicas import wire as w
from recipes.core.replicas.stages import ProgressStage
from recipes.core.replicas.wire import Message

_REPLICATING: Final = ProgressStage.REPLICATING
_PROBING: Final = ProgressStage.PROBING
_SENT: Final = (ProgressStage.DUMPING, ProgressStage.REPLICATING)


class Progress:
    """One follower or observer, for the life of its connection; one that connects again is a new one.

    stage, steps: what it may send, and what the leader does with that. link: its connection.
    sent_zxid: in PROBING, the last guess of an entry that both logs have; in REPLICATING, the last entry sent.
    durable_zxid: its log is the leader's up to here, on its disk; never falls. -1: not known.
    joins_at_zxid: where the leader's log ended when this follower began to replicate. joined: its disk has all of that.
    gets_tree: whether it is sent the whole tree. joining: whether it is being sent that, or what it lacked.
    round: the last round of heartbeats that it has answered.
    """

    __slots__ = (
        "_rows", "_sent_commit", "_sent_round", "durable_zxid", "gets_tree", "joined", "joins_at_zxid", "link", "round",
        "sent_zxid", "stage", "steps",
    )  # fmt: skip

    def __init__(self, link: Link[Message], rows: Mapping[ProgressStage, Mapping[type[object], Any]]) -> None:
        self._rows = rows
        self.link: Link[Message] = link
        self.sent_zxid: int = 0
        self.durable_zxid: int = -1
        self.joins_at_zxid: int = 0
        self.joined: bool = False
        self.gets_tree: bool = False
        self.round: int = 0
        self._sent_commit = -1
        self._sent_round = 0
        self.enter(ProgressStage.CONNECTED)

    def enter(self, stage: ProgressStage) -> None:
        """Move to a stage."""
        self.stage: ProgressStage = stage
        self.steps: Mapping[type[object], Any] = self._rows[stage]

    @property
    def sid(self) -> int:
        """Of its server; -1 until it has said who it is."""
        return self.link.sid

    @property
    def counts(self) -> bool:
        """Whether its log is known to be the leader's up to `durable_zxid`."""
        return self.stage is _REPLICATING

    @property
    def answered(self) -> bool:
        """Whether it has answered where its log is the leader's, or that it is not."""
        return self.stage in _SENT

    @property
    def joining(self) -> bool:
        """Whether it is on its way to this leader's log, as that was when it came."""
        return not self.joined and self.stage in _SENT

    def replicate(self, sent_zxid: int, last_zxid: int) -> None:
        """Send it everything behind `sent_zxid` from here on. last_zxid: of the leader's log."""
        self.sent_zxid = sent_zxid
        self.joins_at_zxid = last_zxid
        self.enter(_REPLICATING)

    def stored(self, zxid: int) -> None:
        """Its disk has the leader's log up to `zxid`."""
        self.durable_zxid = zxid
        self.joined = self.joined or zxid >= self.joins_at_zxid

    def probe(self, zxid: int) -> None:
        """Guess that both logs have `zxid`."""
        self.enter(_PROBING)
        self.sent_zxid = zxid
        self._sent_round = -1

    def flush(
        self,
        term: int,
        history: History,
        last_zxid: int,
        commit_zxid: int,
        round_number: int,
        made: dict[int, bytes] | None = None,
    ) -> None:
        """Send what is new: entries up to `last_zxid`, how far is committed, a heartbeat.

        made: frames made in this turn for other followers, by the zxid before their first entry.
        """
        if self.stage is _REPLICATING:
            if self.sent_zxid < last_zxid:
                self._send_entries(term, history, last_zxid, commit_zxid, round_number, {} if made is None else made)
            elif self._sent_commit == commit_zxid and self._sent_round == round_number:
                return
            else:
                self.link.send(w.encode_append(term, self.sent_zxid, commit_zxid, round_number, ()))
        elif self.stage is _PROBING and self._sent_round != round_number:
            self.link.send(w.encode_append(term, self.sent_zxid, commit_zxid, round_number, ()))
        else:
            return
        self._sent_commit, self._sent_round = commit_zxid, round_number

    def _send_entries(
        self, term: int, history: History, last_zxid: int, commit_zxid: int, round_number: int, made: dict[int, bytes]
    ) -> None:
        before = self.sent_zxid
        data = made.get(before)
        if data is None:
            frames, at = [], before
            entries = history.behind(before)
            if last_zxid != history.last_zxid:
                entries = [entry for entry in entries if entry.zxid <= last_zxid]
            for batch in w.batches(entries):
                frames.append(w.encode_append(term, at, commit_zxid, round_number, batch))
                at = batch[-1].zxid
            data = made[before] = b"".join(frames)
        self.link.send(data)
        self.sent_zxid = last_zxid
