"""A round of a thousand parties: what it takes does not grow with the square of their number."""

from collections import Counter
from contextlib import AsyncExitStack

import anyio
import pytest

from recipes import DoubleBarrier, connect
from recipes.barrier import party
from recipes.core.jute import opcodes as op

pytestmark = pytest.mark.anyio
CLIENTS = 20


def count_requests(client, counts):
    """Add up the requests that a client sends, and the events that it gets."""
    outgoing, fire = client.session.outgoing, client.session._fire

    def counted(now):
        counts.update(call.op for call in client.session.unsent if not call.abandoned)
        return outgoing(now)

    def heard(kind, path):
        counts["events"] += 1
        return fire(kind, path)

    client.session.outgoing = counted
    client.session._fire = heard


async def run_round(hosts, root, parties):
    counts, inside, most = Counter(), 0, 0
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(hosts, session_timeout=60)) for _ in range(CLIENTS)]
        for client in clients:
            count_requests(client, counts)

        async def take_part(number):
            nonlocal inside, most
            async with DoubleBarrier(clients[number % CLIENTS], root, parties, name=str(number)) as entered:
                assert len(entered.members) == parties
                inside += 1
                most = max(most, inside)
                await anyio.sleep(0)
                assert inside > 0
            inside -= 1

        async with anyio.create_task_group() as tasks:
            for number in range(parties):
                tasks.start_soon(take_part, number)
        assert most == parties  # all were inside before one had left
    return counts


@pytest.mark.thorough  # it takes a quarter of a minute
@pytest.mark.timeout(300)
async def test_a_thousand_parties_at_one_barrier_take_a_few_requests_each(start_server, root, anyio_backend):
    patient = start_server("ours", tickTime=3000)  # so that sessions may be a minute long
    await check_round(patient.hosts, root, 1000)


async def test_what_a_party_takes_does_not_grow_with_their_number(our_server, root, anyio_backend):
    await check_round(our_server.hosts, root, 30)


async def test_a_party_that_goes_from_round_to_round_takes_four_requests_and_two_events_for_each(
    our_server, root, monkeypatch
):
    """And three requests more of the party that opens the gate, which lists all and deletes the round before."""
    monkeypatch.setattr(party, "_SOON", 60)  # a machine may be slow
    parties, warm, measured = 10, 2, 20
    counts = Counter()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(our_server.hosts)) for _ in range(parties)]

        async def take_part(client):
            barrier = DoubleBarrier(client, root, parties)
            for number in range(warm + measured):
                if number == warm:
                    count_requests(client, counts)
                async with barrier:
                    pass

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for client in clients:
                    tasks.start_soon(take_part, client)
    rounds = measured + 1  # a client is counted from the moment at which it has left a round
    assert sum(counts.values()) - counts["events"] <= rounds * (4 * parties + 4), counts
    assert counts["events"] <= rounds * 2 * parties, counts


async def check_round(hosts, root, parties):
    with anyio.fail_after(250):
        counts = await run_round(hosts, root, parties)
    # 16 each of a first round, in which all look for the barrier and one makes it.
    assert sum(counts.values()) - counts["events"] <= 18 * parties, counts
    assert counts[op.GET_CHILDREN] <= 2 * parties, counts
    assert counts["events"] <= 4 * parties, counts
