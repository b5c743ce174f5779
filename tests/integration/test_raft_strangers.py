"""Strangers at the ports between servers that run raft: the same as test_strangers.py shows of zab."""

from __future__ import annotations

from random import Random

import pytest

from recipes.core.jute.votes import encode_greeting, encode_notification
from recipes.core.quorum import Membership, QuorumServer
from recipes.core.raft.claims import MOST_CLAIMED, MOST_TERM
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replicas.ballots import Ballot, Kind, ensemble_id, to_notification
from tests.integration.test_strangers import NUMBERS, SIDS, begin, strangers_come

ENSEMBLE = ensemble_id(Membership([QuorumServer(sid, "h", 1, 2) for sid in (1, 2, 3)]))
SAID_BY_STRANGERS = [kind for kind in Kind if kind is not Kind.GRANT]  # a vote is all that a member has to give


class RaftStranger:
    """Makes what one connection sends. term: of the ensemble, so that fields are just out of range, too."""

    def __init__(self, chance: Random, term: int) -> None:
        self.chance = chance
        self.terms = (*NUMBERS, term - 1, term, term + 1, term + 2, term + 99, 1 << 24, MOST_CLAIMED, MOST_TERM + 1)

    def zxid(self) -> int:
        wanted = self.chance.choice((self.chance.choice(NUMBERS), self.chance.choice(self.terms) << 32))
        counter = self.chance.choice((0, 1, 7, 0xFFFFFFFE, 0xFFFFFFFF))
        return (wanted + counter + 2**63) % 2**64 - 2**63

    def hello(self) -> bytes:
        chance = self.chance
        ensemble = chance.choice((ENSEMBLE, ENSEMBLE, ENSEMBLE, 0))
        sid = chance.choice((1, 2, 3, *SIDS)) % 2**31
        return RAFT_MESSAGES.encode_hello(ensemble, sid, chance.choice(self.terms), chance.choice((-1, self.zxid())))

    def message(self) -> bytes:
        chance = self.chance
        number, term = chance.choice(NUMBERS), chance.choice(self.terms)
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
            term = chance.choice(self.terms)
            ballot = Ballot(chance.choice(SAID_BY_STRANGERS), term, chance.choice((-1, self.zxid())))
            note = encode_notification(to_notification(ballot, chance.choice((ENSEMBLE, ENSEMBLE, 0)), b""))
            said += (note[: -chance.randrange(1, 20)] if not chance.randrange(8) else note) * chance.choice((1, 3))
        return said


@pytest.mark.thorough  # three processes and 400 connections
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "sslQuorum"])
def test_f6_strangers_achieve_little_and_with_tls_nothing(start_ensemble, wire, tls):
    run(start_ensemble, wire, 400, tls)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "sslQuorum"])
def test_f6_ten_thousand_strangers(start_ensemble, wire, tls):
    run(start_ensemble, wire, 10_000, tls)


def run(start_ensemble, wire, count: int, tls: bool) -> None:
    with start_ensemble("ours", "ours", "ours", start=False, protocol="raft") as ensemble:
        begin(ensemble, tls=tls)
        strangers_come(ensemble, wire, count, tls=tls, makes=RaftStranger)
