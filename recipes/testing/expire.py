"""End a session behind its client's back, as servers do when they have not heard from the client for too long."""

from struct import Struct

import anyio

from recipes.core.client.client import Client
from recipes.core.client.hosts import parse_hosts
from recipes.core.client.wire import open_stream
from recipes.core.jute.frames import FrameReader, frame
from recipes.core.jute.opcodes import CLOSE_SESSION
from recipes.core.jute.records import ConnectRequest, decode_connect_response, encode_connect_request

_REQUEST_HEADER = Struct(">ii")
_ATTEMPTS = 100
_PAUSE_S = 0.05


async def expire_session(client: Client, hosts: str) -> None:
    """Return once the session of `client` is over. The client learns of that by itself, a moment later.

    hosts: servers of the client's ensemble; the first that answers is used. Raises OSError if none answers,
    TimeoutError if they hang up again and again.
    """
    session = client.session
    hello = encode_connect_request(ConnectRequest(0, 2000, session.id, session.password))
    # An Apache server hangs up on the previous connection of a session when another connection takes it over. A client
    # that reconnects quickly may so end our connection before our request is done; then we connect again.
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
    """Take over a session and request at once that it is closed. False if the server hung up without an answer."""
    frames = FrameReader()
    answers: list[bytes] = []
    async with await open_stream(host, host, port, None) as stream:
        try:
            await stream.send(frame(hello) + frame(_REQUEST_HEADER.pack(1, CLOSE_SESSION)))
            while len(answers) < 2:
                answers += frames.feed(await stream.receive())
                if answers and decode_connect_response(answers[0]).timeout_ms == 0:  # the session is over already
                    break
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return False
    return True
