"""What a leader answers its learners, and when: nothing that a later leader could have made untrue."""

from recipes.core.forwarding import Revalidate, Revalidated
from recipes.core.jute import quorum as q
from recipes.core.replication import Synced
from recipes.core.zab.stages import ProgressStage

E1 = 1 << 32


def test_an_ack_on_its_way_when_a_sync_is_asked_for_is_no_sign_that_its_sender_still_follows(rig_of):
    rig = rig_of()
    rig.elect(3, 2, 3)
    rig.run()
    rig.elect(3, 1)
    while q.NEWLEADER not in [packet.type for to, packet in rig[3].sent if to == 1]:
        rig.step()
    rig[1].flush()
    outbox = rig[1].peer.take_outbox()  # its ACK of NEWLEADER, sent before anybody asks
    rig.down.add(2)
    rig[3].peer.begin_turn(rig.now_ms)
    rig[3].peer.sync("mine", 1, 1, b"", ())
    for link in outbox.touched:
        rig._deliver(1, link)
    assert all(learner.stage is ProgressStage.UP_TO_DATE for learner in rig[3].peer.leader.synced())
    rig[3].peer.begin_turn(rig.now_ms)
    rig[3].peer.sync("another", 1, 2, b"", ())
    rig[3].take()
    assert rig[3].applied == []
    rig.advance(100)
    assert rig[3].applied == [Synced("mine"), Synced("another")]


def test_a_session_comes_back_to_an_observer_behind_everything_it_had_under_way(rig_of):
    rig = rig_of(voters=3, observers=1)
    rig.elect(3)
    rig.run()
    rig[1].disk_stuck = rig[2].disk_stuck = True
    rig.propose(3)
    rig.run()
    rig[4].peer.learner.revalidate(7, 1000)
    rig.run()
    asked = [event for event in rig[3].events if isinstance(event, Revalidate)]
    assert [event.session_id for event in asked] == [7]
    rig[3].peer.leader.answer_revalidate(asked[0].link, 7, True)
    rig.run()
    assert Revalidated(7, True) not in rig[4].events
    rig[1].disk_stuck = False
    rig.run()
    assert rig[4].events[-1] == Revalidated(7, True)
    assert rig[4].peer.learner.forward(7, 1, 1, b"", ()) == E1 + 1
