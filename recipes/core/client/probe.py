"""Looking for a server that takes writes, while connected to one that is read-only.

Source: ClientCnxn.java, pingRwServer.
"""

import ssl
from collections.abc import Iterator, Sequence

import anyio

from recipes.core.client.wire import open_stream


async def find_read_write(
    hosts: Sequence[tuple[str, int]], tls: ssl.SSLContext | None, waits: Iterator[float], patience: float
) -> tuple[str, int]:
    """Return the first of `hosts` (name, port) that takes writes; ask them all again and again until one does.

    waits: seconds before each round. patience: seconds that each server has to answer.
    """
    while True:
        await anyio.sleep(next(waits))
        for host, port in hosts:
            if await _is_read_write(host, port, tls, patience):
                return host, port


async def _is_read_write(host: str, port: int, tls: ssl.SSLContext | None, patience: float) -> bool:
    answer = b""
    try:
        with anyio.fail_after(patience):
            async with await open_stream(host, host, port, tls) as stream:
                await stream.send(b"isro")
                while len(answer) < 2:  # rw, ro or null
                    answer += await stream.receive()
    except (OSError, UnicodeError, anyio.BrokenResourceError, anyio.EndOfStream):
        return False
    return answer == b"rw"
