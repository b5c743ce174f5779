"""The data of claimed items are read in few requests, behind the claim."""

import anyio
import pytest

from recipes import Queue, connect
from recipes.core.client.connector import _MAX_REPLY_BYTES
from recipes.core.errors import ConnectionLoss, NoNode, SessionExpired
from recipes.queue.reading import Reading
from recipes.writer import MOST_BYTES
from tests.queue.conftest import SECONDS, sabotaged

pytestmark = pytest.mark.anyio
MIB = 1 << 20
PATHS = [f"/{number}" for number in range(100)]


class Call:
    def __init__(self, paths):
        self.paths, self.done, self.abandoned, self.value, self.error = paths, False, False, [], None

    def answer(self, *sizes, error=None):
        self.done, self.error = True, error
        self.value = [(bytes(size), None) if size is not None else NoNode() for size in sizes]

    async def result(self):
        if self.error is not None:
            raise self.error
        return self.value


class Client:
    def __init__(self):
        self.calls = []
        self.over = False

    def start_multi_read(self, reads):
        if self.over:
            raise SessionExpired
        self.calls.append(Call([path for _, path in reads]))
        return self.calls[-1]


@pytest.mark.parametrize("largest, asked", [(0, 20), (100, 60), (MIB, 8), (3 * MIB, 2), (9 * MIB, 1)])
def test_no_request_asks_for_too_much(largest, asked):
    client = Client()
    Reading(client, PATHS, largest).begin()
    assert {len(call.paths) for call in client.calls[:-1]} <= {asked}
    assert [path for call in client.calls for path in call.paths] == PATHS
    # The reply can be read also if each item is as large as an item may be.
    assert all(len(call.paths) * MOST_BYTES < _MAX_REPLY_BYTES for call in client.calls)


async def test_the_largest_is_remembered_and_what_is_missing_shows():
    client = Client()
    reading = Reading(client, PATHS[:4], 50)
    reading.begin()
    client.calls[0].answer(10, 100, None, 5)
    found = await reading.result()
    assert isinstance(found[2], NoNode) and len(found) == 4 and reading.largest == 100


async def test_what_was_asked_for_before_the_multi_was_sent_again_does_not_count():
    client = Client()
    reading = Reading(client, PATHS[:2], 50)
    reading.begin()
    reading.begin()
    assert client.calls[0].abandoned and not client.calls[1].abandoned
    client.calls[0].answer(1, 1)
    client.calls[1].answer(None, 2)
    first, second = await reading.result()
    assert isinstance(first, NoNode) and second == (bytes(2), None)


async def test_an_error_of_one_request_is_that_of_all():
    client = Client()
    reading = Reading(client, PATHS, 0)
    reading.begin()
    client.calls[0].answer(error=ConnectionLoss())
    with pytest.raises(ConnectionLoss):
        await reading.result()
    client.over = True
    reading.begin()
    with anyio.fail_after(5), pytest.raises(SessionExpired):
        await reading.result()


async def gone_behind_the_look(queue, other, monkeypatch, hand_out):
    """Claim what somebody else acknowledges between the look and the claim; return what is got."""
    finder = queue._parts().finder
    original = finder._take

    async def take(found, hand_out):
        monkeypatch.setattr(finder, "_take", original)
        async with other.receive() as message:
            assert message.data == b"0"
        return await original(found, hand_out)

    monkeypatch.setattr(finder, "_take", take)
    return await finder.claim(2, hand_out=hand_out)


@pytest.mark.parametrize("hand_out", [0, 1])
async def test_an_item_that_is_gone_by_the_time_of_its_claim_is_not_handed_out_and_leaves_nothing(
    hosts, root, monkeypatch, hand_out
):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as first, connect(hosts) as second:
            queue, other = Queue(first, root), Queue(second, root)
            await queue.put_many([b"0", b"1"])
            found = await gone_behind_the_look(queue, other, monkeypatch, hand_out)
            assert [delivery.value for delivery in found] == [b"1"]
            await queue._parts().native.writer.touch()
            left = await first.children(f"{root}/items/100-0000000000")
            assert left == ["c0000000001"] + ["h0000000001.1"] * hand_out + ["i-0000000001"]


@pytest.mark.parametrize("lost", [0, 1])
async def test_the_data_of_an_item_are_read_behind_its_claim_also_if_the_claim_is_sent_again(hosts, root, lost):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as first, sabotaged(hosts) as (second, saboteur):
            await Queue(first, root).put_many([b"0", b"1"])
            queue = Queue(second, root)
            await queue.size()
            sent = []
            submit = saboteur.submit
            second._submit = second._namespace.submit = lambda call: (sent.append(call), submit(call))[1]
            saboteur.lose_reply = saboteur.replies + 3 if lost else 0  # those to two lists, then that to the claim
            finder = queue._parts().finder
            found = await finder.claim(2, hand_out=0)
            assert [delivery.value for delivery in found] == [b"0", b"1"] and saboteur.lost == bool(lost)
            kinds = [(call.op, call.abandoned) for call in sent if call.op in (14, 22)]
            assert kinds == [(14, False), (22, True), (14, False), (22, False)] if lost else [(14, False), (22, False)]
