"""The servers that a client is given as text."""

from recipes.core import paths
from recipes.core.address import split_address
from recipes.core.client.wire import socket_path
from recipes.core.errors import BadArguments


def parse_hosts(hosts: str) -> tuple[list[tuple[str, int]], str]:
    """Hosts and chroot of `host:port,host:port/chroot` or `unix:PATH:/chroot`; a socket is a host with port 0.

    Raises BadArguments, which names what is wrong.
    """
    path = socket_path(hosts)
    if path is not None:
        path, _, rest = path.partition(":/")
        if not path.startswith("/"):
            raise BadArguments("", f"{hosts!r}: expected unix:/PATH or unix:/PATH:/CHROOT")
        found = [(f"unix:{path}", 0)]
    else:
        text, _, rest = hosts.partition("/")
        found = [_host_and_port(part, hosts) for part in text.split(",")]
    chroot = f"/{rest}" if rest else ""
    if not chroot:
        return found, ""
    if wrong := paths.why_invalid(chroot):
        raise BadArguments(chroot, f"not a chroot: {wrong}")
    return found, chroot


def _host_and_port(part: str, hosts: str) -> tuple[str, int]:
    try:
        return split_address(part)
    except ValueError:
        raise BadArguments("", f"{part!r} in {hosts!r}: expected HOST or HOST:PORT") from None
