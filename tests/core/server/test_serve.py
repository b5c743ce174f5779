"""`recipes.serve`: a server in a task of a program on asyncio."""

import asyncio

import anyio
import pytest

from recipes import DiskError, ServerConfig, connect, serve


async def test_a_server_in_a_task_says_where_it_is_and_ends_with_the_task(tmp_path):
    config = ServerConfig(data_dir=tmp_path, client_port=0)
    async with anyio.create_task_group() as tasks:
        hosts = await tasks.start(lambda task_status: serve(config, task_status=task_status))
        async with connect(hosts) as client:
            assert await client.create("/a") == "/a"
        tasks.cancel_scope.cancel()
    async with anyio.create_task_group() as tasks:  # the directory is free again
        hosts = await tasks.start(lambda task_status: serve(config, task_status=task_status))
        async with connect(hosts) as client:
            assert await client.exists("/a") is not None
        tasks.cancel_scope.cancel()


async def test_a_server_that_can_no_longer_serve_raises_why(tmp_path):
    config = ServerConfig(data_dir=tmp_path, client_port=0)
    task = asyncio.ensure_future(serve(config))
    (tmp_path / "a file").write_text("")
    with pytest.raises(DiskError):
        await serve(ServerConfig(data_dir=tmp_path / "a file", client_port=0))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


pytestmark = pytest.mark.asyncio
