"""End a session behind its client's back, as the servers do when they have not heard from it for too long."""

from struct import Struct

import anyio

from recipes.core.client.client import Client
from recipes.core.client.link import parse_hosts
from recipes.core.client.wire import open_stream
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.opcodes import CLOSE_SESSION
from recipes.core.jute.records import ConnectRequest, decode_connect_response, encode_connect_request

_REQUEST_HEADER = Struct(">ii")
_ATTEMPTS = 100
_PAUSE_S = 0.05


async def expire_session(client: Client, hosts: str) -> None:
    """Return once the session of `client` is over. It learns of that by itself, a moment later.

    hosts: servers of the ensemble it is connected to; the first that answers is used. Raises OSError when none does,
    TimeoutError when they hang up again and again.
    """
    session = client.session
    hello = encode_connect_request(ConnectRequest(0, 2000, session.id, session.password))
    # Apache's servers hang up on who had a session when somebody takes it up: the client, quick to come back, may so
    # end our connection before our request is done. Then it is made again.
    for _ in range(_ATTEMPTS):
        refused: OSError = ConnectionRefusedError(f"none of {hosts} answers")
        were_hung_up_on = False
        for host, port in parse_hosts(hosts)[0]:
            try:
                if await _close(host, port, hello):
                    return
                were_hung_up_on = True
            except OSError as error:
                refused = error
        if not were_hung_up_on:
            raise refused
        await anyio.sleep(_PAUSE_S)
    raise TimeoutError(f"{hosts} hung up {_ATTEMPTS} times instead of ending session {session.id:#x}")


async def _close(host: str, port: int, hello: bytes) -> bool:
    """Take a session up and ask at once that it be closed. False when the server hung up without an answer."""
    frames = FrameReader()
    answers: list[bytes] = []
    async with await open_stream(host, host, port, None) as stream:
        try:
            await stream.send(frame(hello) + frame(_REQUEST_HEADER.pack(1, CLOSE_SESSION)))
            while len(answers) < 2:
                answers += frames.feed(await stream.receive())
                if answers and decode_connect_response(answers[0]).timeout_ms == 0:  # it is over already
                    break
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return False
    return True
