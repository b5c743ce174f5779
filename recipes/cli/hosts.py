"""Which servers a command talks to, and whether one of them listens.

A command never starts an embedded server: a lock taken there would exclude nobody.
"""

import os
import socket

from recipes.cli.terminal import complain

_DEFAULT = "127.0.0.1:2181"
# What a name that is not known ends in; one that cannot be encoded for DNS is a UnicodeError.
NAME_ERRORS = (socket.gaierror, UnicodeError)


class NothingListens(SystemExit):
    """Ends the command with exit code 2 after one line on stderr, which says why."""

    def __init__(self, why: str) -> None:
        complain("recipes", why)
        super().__init__(2)


def find_hosts(given: str | None) -> str:
    """`given`, else RECIPES_HOSTS, else 127.0.0.1:2181. Raises NothingListens when none of them can be reached."""
    stated = given or os.environ.get("RECIPES_HOSTS")
    hosts = stated or _DEFAULT
    silent, unknown = [], []
    for address in split_hosts(hosts):
        where = split_address(address)
        try:
            socket.create_connection(where, timeout=5).close()
        except NAME_ERRORS:
            unknown.append(f"{where[0]}: name not known")
        except OSError:
            silent.append(with_port(*where))
        else:
            return hosts
    if not stated:
        raise NothingListens(f"nothing listens on {','.join(silent)}; start a server or name one by RECIPES_HOSTS")
    raise NothingListens("; ".join([f"nothing listens on {','.join(silent)}"] * bool(silent) + unknown))


def stated_hosts() -> str:
    """RECIPES_HOSTS, else 127.0.0.1:2181."""
    return os.environ.get("RECIPES_HOSTS") or _DEFAULT


def split_hosts(hosts: str) -> list[str]:
    """The addresses in `host:port,host:port/chroot`."""
    return [address.strip() for address in hosts.partition("/")[0].split(",")]


def with_port(host: str, port: int) -> str:
    """`host:port`, or `[host]:port` for an address of IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[host]:port`; the port is 2181 when it is left out."""
    host, colon, port = address.strip().rpartition(":")
    if not colon or address.strip().endswith("]"):
        return address.strip().strip("[]"), 2181
    if not port.isdigit() or int(port) > 65535:
        complain("recipes", f"{address}: expected HOST:PORT")
        raise SystemExit(2)
    return host.strip("[]"), int(port)
