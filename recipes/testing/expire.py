"""End a session behind its client's back, as the servers do when they have not heard from it for too long."""

from struct import Struct

import anyio

from recipes.core.client.client import Client
from recipes.core.client.link import parse_hosts
from recipes.core.client.wire import open_stream
from recipes.core.jute.frames import frame
from recipes.core.jute.opcodes import CLOSE_SESSION
from recipes.core.jute.records import ConnectRequest, encode_connect_request

_REQUEST_HEADER = Struct(">ii")


async def expire_session(client: Client, hosts: str) -> None:
    """Return once the session of `client` is over. It learns of that by itself, a moment later.

    hosts: servers of the ensemble it is connected to; the first that answers is used. Raises OSError when none does.
    """
    session = client.session
    hello = frame(encode_connect_request(ConnectRequest(0, 2000, session.id, session.password)))
    refused: OSError = ConnectionRefusedError(f"none of {hosts} answers")
    for host, port in parse_hosts(hosts)[0]:
        try:
            async with await open_stream(host, host, port, None) as stream:
                await stream.send(hello)
                await stream.receive()
                await stream.send(frame(_REQUEST_HEADER.pack(1, CLOSE_SESSION)))
                await stream.receive()
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            refused = error if isinstance(error, OSError) else refused
        else:
            return
    raise refused
