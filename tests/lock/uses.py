"""Ways to wait for a hold at `/a`, and to stay once it is had."""

import anyio

from recipes import Election, Lock


async def take(client):
    async with Lock(client, "/a"):
        await anyio.sleep_forever()


async def try_to_take(client):
    async with Lock(client, "/a").try_acquire():
        await anyio.sleep_forever()


async def try_to_take_for_long(client):
    async with Lock(client, "/a").try_acquire(within=3):
        await anyio.sleep_forever()


async def acquire(client):
    await Lock(client, "/a").acquire()
    await anyio.sleep_forever()


async def lead(client):
    async with Election(client, "/a").lead():
        await anyio.sleep_forever()


async def close(client):
    await client.__aexit__(None, None, None)
