"""Dialling another server, cut short."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from recipes.core.server.peer_sockets import PeerSockets


class Told(asyncio.Protocol):
    def __init__(self, made) -> None:
        self.made = made
        self.heard: list[str] = []

    def connection_made(self, transport) -> None:
        self.heard.append("made")
        self.made()

    def connection_lost(self, exc) -> None:
        self.heard.append("lost")


async def dial_and_cancel() -> list[str]:
    listener = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    protocol = Told(lambda: attempt.cancel())
    attempt = asyncio.ensure_future(PeerSockets(None, 1000).dial(lambda: protocol, "127.0.0.1", port))
    with pytest.raises(asyncio.CancelledError):
        await attempt
    listener.close()
    return protocol.heard


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_attempt_cancelled_as_its_connection_comes_up_is_lost(factory):
    with asyncio.Runner(loop_factory=factory) as runner:
        heard = runner.run(dial_and_cancel())
    assert heard[:2] == ["made", "lost"]
