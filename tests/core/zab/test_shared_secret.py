"""The secret that members share (sessionSecret=own): on disk before the epoch, and sent to nobody else."""

from dataclasses import replace

import pytest

from recipes.core.jute import quorum as q
from recipes.core.replication import SECRET_CELL, Cell, SecretShared
from tests.core.zab.test_joining import hears

E1 = 1 << 32
OLD, NEW = b"what they have", b"what the leader says"


def shares(rig, *sids, secret=b""):
    """These servers share a secret, and have this one stored."""
    for sid in sids:
        peer = rig[sid].peer
        peer.settings = replace(peer.settings, secret=secret, new_secret=b"made by %d" % sid)
        peer.secret = secret


def cells(node):
    return [(each.name, each.value) for each in node.done if isinstance(each, Cell)]


def secrets_told(node):
    return [event.secret for event in node.events if isinstance(event, SecretShared)]


def test_f13_the_first_leader_makes_it_and_all_have_it_before_they_serve(rig_of):
    rig = rig_of(observers=1)
    shares(rig, 1, 2, 3, 4)
    rig.elect(3, 1, 2, 3, 4)
    rig.run()
    for sid in (1, 2, 3, 4):
        assert rig[sid].peer.serving
        names = [name for name, _ in cells(rig[sid])]
        assert names == ["acceptedEpoch", SECRET_CELL, "currentEpoch"]
        assert dict(cells(rig[sid]))[SECRET_CELL] == b"made by 3"
        assert secrets_told(rig[sid]) == [b"made by 3"]


def test_f13_a_later_leader_keeps_it_and_gives_it_to_who_has_none(rig_of):
    rig = rig_of()
    shares(rig, 1, 3, secret=OLD)
    shares(rig, 2)
    rig.elect(3, 1, 2, 3)
    rig.run()
    assert [secrets_told(rig[sid]) for sid in (1, 2, 3)] == [[], [OLD], []]
    assert [rig[sid].peer.secret for sid in (1, 2, 3)] == [OLD] * 3


@pytest.mark.parametrize("joins", [False, True])
def test_f13_a_leader_that_is_not_joined_in_the_end_replaces_no_secret(rig_of, joins):
    rig = rig_of()
    shares(rig, 1, secret=OLD)
    packets = [q.encode_packet(q.LEADERINFO, E1, q.encode_leader_info(secret=NEW)), q.encode_packet(q.DIFF, 0)]
    hears(rig, *packets, *([q.encode_packet(q.NEWLEADER, E1)] if joins else []))
    assert rig[1].peer.secret == (NEW if joins else OLD)
    assert (SECRET_CELL in dict(cells(rig[1]))) == joins


@pytest.mark.parametrize(
    ("shared", "sent", "why"),
    [
        (True, b"", "the leader 3 has no session secret: all members need the same sessionSecret"),
        (False, NEW, "the leader 3 shares a session secret: all members need the same sessionSecret"),
    ],
)
def test_f13_a_member_that_is_configured_otherwise_does_not_join(rig_of, shared, sent, why):
    rig = rig_of()
    if shared:
        shares(rig, 1)
    link = hears(rig, q.encode_packet(q.LEADERINFO, E1, q.encode_leader_info(secret=sent)))
    assert link.wants_close and rig[1].peer.why_looking == why
    assert rig[1].done == []


def test_f13_apaches_server_is_sent_no_secret(rig_of):
    rig = rig_of()
    shares(rig, 3, secret=OLD)
    rig.elect(3, 3)
    rig.step()
    link = rig[3].peer.accept()
    rig.by_hand(3, link)
    link.receive(q.encode_packet(q.FOLLOWERINFO, 0, q.encode_learner_info(1, ours=False)))
    rig.step()
    assert link.wants_close
    assert "it is no server of this project, and only these share a session secret" in link.why_closed
    assert OLD not in b"".join(part for part in link.out if isinstance(part, bytes))
