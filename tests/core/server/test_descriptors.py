"""How many clients a limit of descriptors allows."""

import asyncio
import resource
import struct

import pytest

from recipes.core.config import ServerConfig
from recipes.core.server import server as module
from recipes.core.server.descriptors import most_clients
from recipes.core.server.server import Server

HELLO = struct.pack(">iiqiqi16s?", 45, 0, 0, 10_000, 0, 16, bytes(16), False)


@pytest.mark.parametrize(("limit", "most"), [(1024, 928), (100, 50), (resource.RLIM_INFINITY, None)])
def test_some_are_kept_for_everything_else(monkeypatch, limit, most):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert most_clients() == most


@pytest.mark.asyncio
async def test_a_client_too_many_is_hung_up_on_and_one_warning_is_logged(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "most_clients", lambda: 1)
    async with Server(ServerConfig(data_dir=tmp_path, client_port=0, four_letter_whitelist=("*",))) as server:
        opened, first = await asyncio.open_connection("127.0.0.1", server.client_port)
        first.write(HELLO)
        async with asyncio.timeout(60):
            await opened.readexactly(4)
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.client_port)
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await reader.readexactly(1)
                writer.close()
            first.close()
            while server.member.connections:
                await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.client_port)
        writer.write(b"ruok")
        assert await reader.read() == b"imok"
        writer.close()
    assert caplog.messages.count("refused a client: 1 are connected, all that ulimit -n allows; raise it") == 1
