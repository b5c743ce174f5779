"""What strangers say at the ports between servers: all that a member can say, with each field out of range."""

import struct
from abc import ABC, abstractmethod
from random import Random
from typing import ClassVar

from recipes.core.jute import quorum as q
from recipes.core.jute.votes import Notification, encode_greeting, encode_notification
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.raft.claims import MOST_CLAIMED, MOST_TERM
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, Kind, ensemble_id, to_notification

TYPES = (*q.PACKET_NAMES, q.FAREWELL, 0, -1, 20, 2**31 - 1, -(2**31))
SIDS = (1, 2, 3, 0, 4, -1, 2**63 - 1, -(2**63))
NUMBERS = (0, 1, -1, 2, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63))
ENSEMBLE = ensemble_id(Membership([QuorumServer(sid, "h", 1, 2) for sid in (1, 2, 3)]))
SAID_BY_STRANGERS = [kind for kind in Kind if kind is not Kind.GRANT]  # a vote is all that a member has to give


class Stranger(ABC):
    """Makes what one connection sends. epoch: of the ensemble, so that fields are just out of range, too."""

    FAR: ClassVar[tuple[int, ...]]  # epochs far from those of the ensemble

    def __init__(self, chance: Random, epoch: int) -> None:
        self.chance = chance
        self.epochs = (*NUMBERS, epoch - 1, epoch, epoch + 1, epoch + 2, epoch + 99, *self.FAR)

    @abstractmethod
    def learner(self) -> bytes:
        """What goes to a quorum port."""

    @abstractmethod
    def voter(self) -> bytes:
        """What goes to an election port."""

    def zxid(self) -> int:
        wanted = self.chance.choice((self.chance.choice(NUMBERS), self.chance.choice(self.epochs) << 32))
        counter = self.chance.choice((0, 1, 7, 0xFFFFFFFE, 0xFFFFFFFF))
        return (wanted + counter + 2**63) % 2**64 - 2**63


class ZabStranger(Stranger):
    FAR = (1 << 24, 1 << 30, (1 << 30) + 1)

    def body(self, kind: int) -> bytes | None:
        chance = self.chance
        number = chance.choice(NUMBERS)
        right = {
            q.FOLLOWERINFO: q.encode_learner_info(chance.choice(SIDS)),
            q.OBSERVERINFO: q.encode_learner_info(chance.choice(SIDS)),
            q.LEADERINFO: q.encode_leader_info(),
            q.ACKEPOCH: struct.pack(">i", chance.choice((-1, 0, 1, 2**31 - 1, -(2**31)))),
            q.PING: q.encode_touches([(number, chance.choice((0, 1, -1, 2**31 - 1)))]),
            q.REVALIDATE: q.encode_revalidate(number, chance.choice((0, -1, 2**31 - 1))),
            q.REQUEST: struct.pack(">qii", number, chance.choice((0, -1, 5)), chance.choice((1, 5, -10, -11, 99)))
            + b"\0" * 9,
        }.get(kind)
        if chance.randrange(4):
            return right
        return chance.choice((None, b"", chance.randbytes(chance.randrange(60)), (right or b"")[:-1]))

    def packet(self, kind: int | None = None) -> bytes:
        kind = self.chance.choice(TYPES) if kind is None else kind
        data = q.encode_packet(kind, self.zxid(), self.body(kind))
        if not self.chance.randrange(8):  # lengths that are not true
            at = self.chance.randrange(len(data))
            data = data[:at] + self.chance.randbytes(4) + data[at + 4 :]
        return data

    def learner(self) -> bytes:
        """What goes to a quorum port: often an introduction first, or all that a member says as it joins."""
        chance = self.chance
        first = chance.choice((b"", b"", self.packet(q.FOLLOWERINFO), self.packet(q.OBSERVERINFO)))
        if not chance.randrange(3):
            promised, sid = chance.choice(self.epochs), chance.choice((1, 2, 3))
            first = q.encode_packet(q.FOLLOWERINFO, (promised % 2**31) << 32, q.encode_learner_info(sid))
            first += chance.choice((b"", q.encode_packet(q.ACKEPOCH, 0, struct.pack(">i", 0))))
        return first + b"".join(self.packet() for _ in range(chance.randrange(4)))

    def voter(self) -> bytes:
        """What goes to an election port."""
        chance = self.chance
        greeting = encode_greeting(chance.choice((1, 1, 2, 2, 3, 3, 0, 4)), "127.0.0.1:1")
        if not chance.randrange(6):
            version, sid, size = (
                chance.choice((-65536, -65535, 5)),
                chance.choice(SIDS),
                chance.choice((-1, 0, 11, 2**31 - 1)),
            )
            greeting = struct.pack(">qqi", version, sid, size) + b"127.0.0.1:1"
        notes = b""
        for _ in range(chance.randrange(5)):
            state, config = (
                chance.choice((0, 0, 1, 2, 3, -1, 9)),
                chance.choice((b"", b"version=0", chance.randbytes(50))),
            )
            fields = [chance.choice((chance.choice(SIDS), self.zxid(), chance.choice(self.epochs))) for _ in range(4)]
            fields = [(field + 2**63) % 2**64 - 2**63 for field in fields]
            note = encode_notification(Notification(state, *fields, config))
            notes += note[: -chance.randrange(1, 20)] if not chance.randrange(8) else note
        return greeting + notes


class RaftStranger(Stranger):
    """An epoch is a term."""

    FAR = (1 << 24, MOST_CLAIMED, MOST_TERM + 1)

    def hello(self) -> bytes:
        chance = self.chance
        ensemble = chance.choice((ENSEMBLE, ENSEMBLE, ENSEMBLE, 0))
        sid = chance.choice((1, 2, 3, *SIDS)) % 2**31
        return RAFT_MESSAGES.encode_hello(ensemble, sid, chance.choice(self.epochs), chance.choice((-1, self.zxid())))

    def message(self) -> bytes:
        chance = self.chance
        number, term = chance.choice(NUMBERS), chance.choice(self.epochs)
        data = chance.choice(
            (
                self.hello(), w.encode_refused("no"), w.encode_synced(), w.encode_revalidate(number, 4000),
                w.encode_append(term, self.zxid(), self.zxid(), number, ()),
                w.encode_appended(term, self.zxid(), self.zxid(), number, [(number, 4000)]),
                w.encode_conflict(term, self.zxid(), self.zxid()), w.encode_snapshot(term, self.zxid()),
                w.encode_forward(number, 1, 5, b"\0" * 9, ()), w.encode_revalidated(number, True),
                *w.encode_parts(iter([b"tree"]), self.zxid), chance.randbytes(chance.randrange(60)),
            )
        )  # fmt: skip
        if not chance.randrange(8):  # lengths that are not true
            data = chance.randbytes(4) + data[4:]
        return data

    def learner(self) -> bytes:
        """What goes to a quorum port: often an introduction first."""
        chance = self.chance
        return chance.choice((b"", self.hello(), self.hello())) + b"".join(
            self.message() for _ in range(chance.randrange(4))
        )

    def voter(self) -> bytes:
        """What goes to an election port: the same several times, as a member says it."""
        chance = self.chance
        said = encode_greeting(chance.choice((1, 1, 2, 2, 3, 3, 0, 4)), "127.0.0.1:1")
        for _ in range(chance.randrange(4)):
            term = chance.choice(self.epochs)
            ballot = Ballot(chance.choice(SAID_BY_STRANGERS), term, chance.choice((-1, self.zxid())))
            note = encode_notification(to_notification(ballot, chance.choice((ENSEMBLE, ENSEMBLE, 0)), b""))
            said += (note[: -chance.randrange(1, 20)] if not chance.randrange(8) else note) * chance.choice((1, 3))
        return said


STRANGERS: dict[str, type[Stranger]] = {"zab": ZabStranger, "raft": RaftStranger}
