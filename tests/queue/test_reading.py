"""The data of many items are read in few requests, none of which may ask for too much."""

import anyio
import pytest

from recipes.core.errors import ConnectionLoss, NoNode, SessionExpired
from recipes.queue.reading import Reading

pytestmark = pytest.mark.anyio
MIB = 1 << 20


class Call:
    def __init__(self, paths):
        self.paths, self.done, self.abandoned, self.heard = paths, False, False, None
        self.value = self.error = None

    def answer(self, sizes, error=None):
        self.done, self.error = True, error
        self.value = [(bytes(size), None) if size is not None else NoNode() for size in sizes]
        if self.heard is not None:
            self.heard(self)

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

    @property
    def asked(self):
        return [len(call.paths) for call in self.calls]


PATHS = [f"/{number}" for number in range(100)]


async def test_a_few_first_and_the_rest_as_large_as_these_are():
    client = Client()
    reading = Reading(client, PATHS, 0)
    assert client.asked == [4]
    client.calls[0].answer([10, 100, None, 5])
    assert client.asked == [4, 96]
    assert [path for call in client.calls for path in call.paths] == PATHS
    client.calls[1].answer([1] * 95 + [200])
    found = await reading.result()
    assert len(found) == 100 and isinstance(found[2], NoNode) and reading.largest == 200


async def test_large_ones_are_asked_for_one_by_one():
    client = Client()
    Reading(client, PATHS[:10], 0)
    client.calls[0].answer([MIB * 3 // 2, 1, 1, 1])
    assert client.asked == [4, 2, 2, 2]
    client = Client()
    Reading(client, PATHS[:3], 5 * MIB)
    assert client.asked == [1, 1, 1]


async def test_all_at_once_where_sizes_are_known_or_there_are_few():
    client = Client()
    Reading(client, PATHS, 100)
    Reading(client, PATHS[:3], 0)
    client.calls[1].answer([1, 1, 1])
    assert client.asked == [100, 3]


async def test_nothing_more_is_asked_for_what_nobody_waits_for():
    client = Client()
    reading = Reading(client, PATHS, 0)
    reading.abandon()
    client.calls[0].answer([1, 1, 1, 1])
    assert client.asked == [4] and client.calls[0].abandoned


async def test_the_first_error_is_that_of_all():
    client = Client()
    reading = Reading(client, PATHS, 0)
    client.calls[0].answer([], ConnectionLoss())
    with pytest.raises(ConnectionLoss):
        await reading.result()
    reading = Reading(client, PATHS, 0)
    client.over = True
    client.calls[1].answer([1, 1, 1, 1])
    with anyio.fail_after(5), pytest.raises(SessionExpired):
        await reading.result()
