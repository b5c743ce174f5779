"""What users of other queues reported: each test is named after entries of tests/reported.md."""

import anyio
import pytest

from recipes import Lock, Queue, connect
from tests.queue.conftest import SECONDS

pytestmark = pytest.mark.anyio


async def test_u43_what_nobody_acknowledged_is_buried_once_whoever_finds_it(hosts, root, server, wire):
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as witness:
            queue = Queue(witness, root, max_deliveries=1)
            await queue.put_many([b"poison", b"good"])
            async with connect(hosts) as dies:
                with pytest.raises(Exception, match="session"):
                    async with Queue(dies, root, max_deliveries=1).receive() as message:
                        assert message.data == b"poison"
                        wire(server.port, session=(dies.session.id, dies.session.password)).close_session()
                        await anyio.sleep_forever()
            clients = [connect(hosts) for _ in range(4)]
            got = []

            async def look(client):
                async with Queue(client, root, max_deliveries=1).try_receive() as message:
                    got.append(message and message.data)
                    await all_looked.wait()

            for client in clients:
                await client.__aenter__()
            all_looked = anyio.Event()
            async with anyio.create_task_group() as tasks:
                for client in clients:
                    tasks.start_soon(look, client)
                while len(got) < len(clients):
                    await anyio.sleep(0.01)
                all_looked.set()
            for client in clients:
                await client.__aexit__(None, None, None)
            assert sorted(map(str, got)) == ["None", "None", "None", "b'good'"]
            said = "handed out 1 times and not acknowledged"
            assert await queue.dead_letters.reasons() == [(b"poison", said, 1)]
            assert await queue.size() == 0


async def test_u45_a_process_that_starts_again_has_at_once_what_it_had(our_server, root):
    """A new start is a new session. One that ends in order leaves nothing behind that its successor would wait for."""
    hosts, seen = our_server.hosts, []
    with anyio.fail_after(SECONDS):
        async with connect(hosts) as client:
            await Queue(client, f"{root}/jobs").put(b"job")
        for _ in range(3):
            began = anyio.current_time()
            async with connect(hosts, session_timeout=10 * SECONDS) as client:
                grant = await Lock(client, f"{root}/lock").acquire()
                async with Queue(client, f"{root}/jobs").consume(prefetch=2) as messages:
                    message = await anext(messages)
                    seen.append((message.data, message.attempt, grant.fence))
            assert anyio.current_time() - began < SECONDS
    assert [each[:2] for each in seen] == [(b"job", 1)] * 3  # claimed, and never begun
    fences = [fence for *_, fence in seen]
    assert fences == sorted(set(fences))
