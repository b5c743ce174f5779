"""`connect`: which servers a client uses, and how."""

import ssl
from collections.abc import Sequence
from pathlib import Path

from recipes.core.client.client import Client
from recipes.core.jute.frames import MAX_FRAME_BYTES


def connect(
    hosts: str | None = None,
    *,
    data_dir: str | Path | None = None,
    private: bool = False,
    session_timeout: float = 15.0,
    auth: Sequence[tuple[str, str]] = (),
    tls: ssl.SSLContext | None = None,
    read_only: bool = False,
    renew: bool = False,
    max_request_bytes: int = MAX_FRAME_BYTES,
) -> Client:
    """`async with connect("host:port,host:port/chroot") as client:`

    hosts: servers to try, port 2181 unless given, and a chroot: a path that every path of this client is below. Without
    hosts, the environment variable RECIPES_HOSTS is used. Without that, the client uses the store in the directory
    RECIPES_STORE or ~/.local/state/recipes, which all processes of this user on this machine share. That store is a
    process of its own, started on demand, on a Unix socket that only this user can reach. It keeps its data.
    data_dir: use the store in this directory, created if it is missing.
    private: use a server inside this process: its locks exclude no other process, and it keeps nothing. For tests and
    demos.
    session_timeout: seconds without contact after which the servers end the session, more than 0 and below 1,000,000.
    Servers bring it into their range, by default 2 to 20 of their ticks; `client.session_timeout` is the result.
    auth: (scheme, credentials) pairs, such as ("digest", "user:password").
    tls: for servers with a secure client port.
    read_only: the session may begin at a server that has lost its quorum and is configured to serve readers, if that
    server answers first. The state is then READ_ONLY: reads show the last data that server had, and writes and `sync`
    raise NotReadOnly. As soon as the client finds a server that takes writes, it moves there and gets a new session id.
    A session that began with a quorum is not served without it.
    renew: when the session is lost, the client begins a new one. Everything that depended on the old session ends, as
    without `renew`: calls under way raise SessionExpired, holds are lost, watches and streams end. Later calls wait for
    the new session for at most `session_timeout`; then they raise ConnectionLoss with each server's reason, and the
    client keeps trying. `client.outlive` waits for the next session; `client.losses` counts the lost ones.
    max_request_bytes: the longest request that the servers take (their jute.maxbuffer), 4096 to 0x7FFFFFFF. A longer
    request is not sent: it raises BadArguments.

    Raises TypeError and BadArguments for invalid arguments. Entering the block raises ConnectionLoss, with each
    server's reason, if no server accepts the client within `session_timeout`; BadArguments for malformed hosts;
    DiskError if the directory of a store cannot be used; ConfigError for a wrong value in the environment.
    """
    return Client(
        hosts,
        data_dir=data_dir,
        private=private,
        session_timeout=session_timeout,
        auth=auth,
        tls=tls,
        read_only=read_only,
        renew=renew,
        max_request_bytes=max_request_bytes,
    )
