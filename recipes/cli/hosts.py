"""Which servers a command talks to, and whether one of them listens.

A command never starts an embedded server: a lock taken there would exclude nobody.
"""

import os
import socket
import sys


class NothingListens(SystemExit):
    """Ends the command with exit code 2 after one line on stderr."""

    def __init__(self, hosts: str) -> None:
        print(f"recipes: nothing listens on {hosts}; start a server or name one by RECIPES_HOSTS", file=sys.stderr)
        super().__init__(2)


def find_hosts(given: str | None) -> str:
    """`given`, else RECIPES_HOSTS, else 127.0.0.1:2181. Raises NothingListens when none of them can be reached."""
    hosts = given or os.environ.get("RECIPES_HOSTS") or "127.0.0.1:2181"
    for address in hosts.partition("/")[0].split(","):
        try:
            socket.create_connection(split_address(address), timeout=5).close()
        except OSError:
            continue
        return hosts
    raise NothingListens(hosts)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[host]:port`; the port is 2181 when it is left out."""
    host, colon, port = address.strip().rpartition(":")
    if not colon or address.strip().endswith("]"):
        return address.strip().strip("[]"), 2181
    if not port.isdigit() or int(port) > 65535:
        print(f"recipes: {address}: expected HOST:PORT", file=sys.stderr)
        raise SystemExit(2)
    return host.strip("[]"), int(port)
