"""The wires of asyncio and of trio: one write per turn, and a connection that is closed however it ends."""

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from recipes.core.client.wire import dial
from recipes.core.errors import WireError

pytestmark = pytest.mark.anyio

SECONDS = 30


class Talk:
    """A Carrier that says what is put into `unsaid`."""

    def __init__(self):
        self.unsaid, self.heard, self.asked = b"", b"", 0
        self.refuse = False

    def outgoing(self):
        self.asked += 1
        said, self.unsaid = self.unsaid, b""
        return said

    def received(self, data):
        if self.refuse:
            raise WireError("nonsense")
        self.heard += data


@pytest.fixture
async def peer():
    """`await peer(talk)` gives a wire and the other end of it."""
    ends = []
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)

        async def connect(talk):
            wire = await dial(talk, "localhost", "127.0.0.1", port, None)
            ends.append(await listener.listeners[0].accept())
            return wire, ends[-1]

        yield connect
    for end in ends:
        await end.aclose()


async def exactly(stream, size):
    data = b""
    with anyio.fail_after(SECONDS):
        while len(data) < size:
            data += await stream.receive()
    return data


async def test_what_was_said_before_a_turn_ends_goes_out_together(peer):
    talk = Talk()
    wire, other = await peer(talk)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wire.run)
        for part in (b"one ", b"two ", b"three"):
            talk.unsaid += part
            wire.wake()
        assert await exactly(other, 13) == b"one two three"
        assert talk.asked <= 2  # on trio, once more to find nothing
        await other.send(b"heard")
        with anyio.fail_after(SECONDS):
            while talk.heard != b"heard":
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(SECONDS), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
        await other.receive()


async def test_the_end_of_the_stream_ends_it(peer):
    wire, other = await peer(Talk())
    await other.aclose()
    with anyio.fail_after(SECONDS), pytest.raises((OSError, anyio.EndOfStream, anyio.BrokenResourceError)):
        await wire.run()


async def test_what_a_carrier_refuses_ends_it(peer):
    talk = Talk()
    talk.refuse = True
    wire, other = await peer(talk)
    await other.send(b"x")
    with anyio.fail_after(SECONDS), pytest.raises(WireError, match="nonsense"):
        await wire.run()
    with anyio.fail_after(SECONDS), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
        await other.receive()
