"""Which servers a command talks to: those of its option, else RECIPES_HOSTS, else this user's store."""

import os
import socket
import sys

from recipes.cli.terminal import complain, escaped
from recipes.core.address import split_address as split
from recipes.core.address import with_port
from recipes.core.errors import ConfigError, RecipesError
from recipes.store.directory import named_store
from recipes.store.start import find_running

# The default before there was a store. For one version commands warn if a server still listens there.
_FORMER_DEFAULT = ("127.0.0.1", 2181)
# The errors for an unknown host name; a name that cannot be encoded for DNS raises UnicodeError.
NAME_ERRORS = (socket.gaierror, UnicodeError)


class NothingListens(SystemExit):
    """Ends the command with exit code 2, after one line on stderr that says why."""

    def __init__(self, why: str) -> None:
        complain("recipes", why)
        super().__init__(2)


def find_hosts(given: str | None) -> str:
    """`given`, else RECIPES_HOSTS, else the store of this user, as `connect(hosts)` takes them.

    The store is started if it does not run. Raises NothingListens if no server, or the store, cannot be reached.
    """
    hosts = stated_hosts(given)
    if is_store(hosts):
        try:
            find_running(named_store(hosts))
        except RecipesError as error:
            raise NothingListens(str(error)) from None
        return hosts
    silent, unknown = [], []
    for address in split_hosts(hosts):
        try:
            open_connection(address).close()
        except NAME_ERRORS:
            unknown.append(f"{split_address(address)[0]}: name not known")
        except OSError:
            silent.append(address if address.startswith("unix:") else with_port(*split_address(address)))
        else:
            return hosts
    raise NothingListens("; ".join([f"nothing listens on {','.join(silent)}"] * bool(silent) + unknown))


def stated_hosts(given: str | None = None) -> str:
    """`given`, else RECIPES_HOSTS, else the store of this user as `store:DIRECTORY`.

    One line on stderr names the store, unless RECIPES_STORE has named it.
    """
    named = os.environ.get("RECIPES_HOSTS")
    if given:
        return given
    if named == "":
        raise NothingListens(str(ConfigError("RECIPES_HOSTS", "''", "HOST:PORT,... or no such variable")))
    if named is not None:
        return named
    try:
        place = named_store(None)
    except ConfigError as error:
        raise NothingListens(str(error)) from None
    if "RECIPES_STORE" not in os.environ:
        print(f"recipes: using the store {escaped(str(place.directory))}, since no hosts are named", file=sys.stderr)
    if _somebody_listens():
        host, port = _FORMER_DEFAULT
        print(
            f"recipes: a server listens on {host}:{port} and is not used: without hosts this version uses the store "
            f"{place.directory}; to use the server set RECIPES_HOSTS={host}:{port}",
            file=sys.stderr,
        )
    return place.hosts


def is_store(hosts: str) -> bool:
    """Whether `hosts` names a store of this machine in place of servers."""
    return hosts.startswith("store:")


def open_connection(address: str) -> socket.socket:
    """A connected socket to `HOST:PORT` or `unix:PATH`. Raises OSError, and NAME_ERRORS."""
    if not address.startswith("unix:"):
        return socket.create_connection(split_address(address), timeout=5)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(5)
    try:
        connection.connect(address.removeprefix("unix:"))
    except BaseException:
        connection.close()
        raise
    return connection


def split_hosts(hosts: str) -> list[str]:
    """The addresses in `host:port,host:port/chroot` or `unix:PATH:/chroot`."""
    if hosts.startswith("unix:"):
        return ["unix:" + hosts.removeprefix("unix:").partition(":/")[0]]
    return [address.strip() for address in hosts.partition("/")[0].split(",")]


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[host]:port`; the default port is 2181. Exits with code 2 for other texts."""
    try:
        return split(address)
    except ValueError:
        complain("recipes", f"{address}: expected HOST:PORT")
        raise SystemExit(2) from None


def _somebody_listens() -> bool:
    try:
        socket.create_connection(_FORMER_DEFAULT, timeout=0.5).close()
    except OSError:
        return False
    return True
