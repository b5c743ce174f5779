"""Finds a client's servers: named by the caller or the environment, or on this machine and started on demand."""

import os
import ssl
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import anyio

from recipes.core.client.hosts import parse_hosts
from recipes.core.client.reasons import shown_host
from recipes.core.errors import BadArguments

Find = Callable[[], Awaitable[str]]


class Servers(NamedTuple):
    """Where a client's servers are.

    addresses: host and port of each. chroot: the path that all paths are below, or "". where: the servers' name in
    error messages. find: returns the current hosts of servers that come and go; None for fixed ones.
    """

    addresses: list[tuple[str, int]]
    chroot: str
    where: str
    find: Find | None


async def find_servers(hosts: str | None, *, private: bool, tls: ssl.SSLContext | None, cleanup: ExitStack) -> Servers:
    """Find the servers for `connect`'s hosts, private and tls. cleanup: gets the end of a server inside this process.

    Raises BadArguments, and the errors of starting a server on this machine.
    """
    named = hosts
    if hosts is None and not private:
        hosts = os.environ.get("RECIPES_HOSTS")
    if hosts is not None and not hosts.startswith("store:"):
        addresses, chroot = _parse(hosts, from_environment=named is None)
        return Servers(addresses, chroot, ",".join(shown_host(*address) for address in addresses) + chroot, None)
    if tls is not None:
        raise BadArguments("", "tls: expected hosts with it: a store of one machine and a private server have no TLS")
    if private:
        from recipes.embedded import embedded_server, find_again

        hosts = await anyio.to_thread.run_sync(cleanup.enter_context, embedded_server())
        addresses, chroot = parse_hosts(hosts)
        return Servers(addresses, chroot, hosts, partial(find_again, hosts))
    from recipes.store.directory import named_store
    from recipes.store.start import find

    place = named_store(hosts)
    find_store = partial(find, place)
    addresses, chroot = parse_hosts(await find_store())
    return Servers(addresses, chroot, f"the store {place.directory}, whose log is {place.log}", find_store)


def _parse(hosts: str, *, from_environment: bool) -> tuple[list[tuple[str, int]], str]:
    try:
        return parse_hosts(hosts)
    except BadArguments as error:
        if not from_environment:
            raise
        raise BadArguments(error.path, f"RECIPES_HOSTS={hosts!r}: {error.message}") from None
