import pytest

from recipes.core.errors import WireError
from recipes.core.jute.txns import blank_txn
from recipes.core.paxos import wire as p
from recipes.core.raft.wire import RAFT_MESSAGES
from recipes.core.replicas import wire as w
from recipes.core.replication import Entry

ENTRIES = [Entry(zxid, blank_txn(zxid)) for zxid in (1 << 40 | 1, 1 << 40 | 2)]
HELLO = p.PAXOS_MESSAGES.encode_hello(77, 3, 257, 5)
SENT = {
    "PROMISE": (p.encode_promise(259, 257, 9, 7), p.Promise(259, 257, 9, 7)),
    "LEARN": (p.encode_learn(259, 7), p.Learn(259, 7)),
    "REPORT": (p.encode_report(259, 7, True, ()), p.Report(259, 7, True, [])),
    "ACCEPT": (w.encode_append(259, 1, 2, 3, ()), w.Append(259, 1, 2, 3, [])),
}


@pytest.mark.parametrize("name", SENT)
def test_each_message_comes_back_cut_anywhere(name):
    data, message = SENT[name]
    stream = HELLO + data
    for at in range(len(stream)):
        it = w.MessageReader(p.PAXOS_MESSAGES, 1 << 20)
        assert [*it.feed(stream[:at]), *it.feed(stream[at:])] == [w.Hello(1, 77, 3, 257, 5), message]
    assert p.PAXOS_MESSAGES.name_of(type(message)) == name


def test_entries_of_a_report_keep_their_bytes():
    found = p.PAXOS_MESSAGES.decode(p.encode_report(259, 7, False, ENTRIES)[4:])
    assert [(entry.zxid, entry.payload) for entry in found.entries] == [(each.zxid, each.payload) for each in ENTRIES]


def test_a_proposer_may_ask_before_it_says_hello():
    assert w.MessageReader(p.PAXOS_MESSAGES, 1 << 20).feed(p.encode_learn(259, 7)) == [p.Learn(259, 7)]


def test_another_protocol_is_recognised():
    with pytest.raises(WireError, match="does not speak multi-paxos"):
        w.MessageReader(p.PAXOS_MESSAGES, 1 << 20).feed(RAFT_MESSAGES.encode_hello(77, 3, 1, 0))
    with pytest.raises(WireError, match="a message of type 13"):
        RAFT_MESSAGES.decode(SENT["PROMISE"][0][4:])
