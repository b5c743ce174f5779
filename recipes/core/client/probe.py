"""Looking for a server that takes writes, while connected to one that is read-only.

Source: ClientCnxn.java, pingRwServer.
"""

import ssl
from collections.abc import Iterator, Sequence
from random import Random

import anyio

from recipes.core.client.wire import open_stream

_SHORTEST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 60.0


def pauses(random: Random) -> Iterator[float]:
    """Seconds between two rounds: from 0.1 doubling to a minute, and each shortened at random."""
    longest = _SHORTEST_PAUSE_S
    while True:
        yield random.uniform(0, longest)
        longest = min(2 * longest, _LONGEST_PAUSE_S)


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
