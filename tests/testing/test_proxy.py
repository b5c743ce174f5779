"""The connections between an ensemble's servers, on both loops that a program may have installed."""

import asyncio

import pytest

from recipes.testing.proxy import Proxy


def loop_factory(name: str):
    return pytest.importorskip("uvloop").new_event_loop if name == "uvloop" else asyncio.SelectorEventLoop


class Echo(asyncio.Protocol):
    """Sends back what comes; `ended` is set when its connection is closed."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_what_is_sent_before_the_other_end_is_there_comes_through(loop: str, cut: bool):
    async def main() -> bytes:
        echo = Echo()
        server = await asyncio.get_running_loop().create_server(lambda: echo, "127.0.0.1", 0)
        proxy = Proxy(server.sockets[0].getsockname()[1])
        port = await proxy.open()
        proxy.cut(cut)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"first ")
        await writer.drain()
        for _ in range(20):  # turns of the loop in which it may arrive too early
            await asyncio.sleep(0)
        proxy.cut(False)
        writer.write(b"second")
        async with asyncio.timeout(60):
            heard = await reader.readexactly(12)
            writer.close()
            await writer.wait_closed()
            await echo.ended.wait()
        await proxy.close()
        server.close()
        return heard

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        assert runner.run(main()) == b"first second"
