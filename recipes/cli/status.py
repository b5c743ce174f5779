"""`recipes status`: print the role of each server, from the four-letter word srvr."""

import json as json_text
import ssl
from contextlib import ExitStack
from typing import Annotated

from cyclopts import Parameter

from recipes.cli.access import TlsOptions
from recipes.cli.hosts import NAME_ERRORS, is_store, open_connection, split_address, split_hosts, stated_hosts
from recipes.cli.terminal import complain, escaped
from recipes.core.errors import RecipesError
from recipes.store.directory import named_store
from recipes.store.start import address_of

_PATIENCE_S = 5.0
_MOST_BYTES = 65536  # of an answer; what sends more is no ZooKeeper server


class NoMode(Exception):
    """A server has not told its mode. Its text says why, for an operator."""


def status(
    *addresses: str,
    json: bool = False,
    tls: Annotated[TlsOptions, Parameter(name="*")] = TlsOptions(),  # noqa: B008 (it is frozen)
) -> int:
    """Print the mode of each server; exit 1 when one of them does not answer with it.

    Args:
        addresses: HOST:PORT,... of the servers; else RECIPES_HOSTS, else the store of this user.
        json: print one JSON object per server.
    """
    asked = [address for hosts in addresses or (stated_hosts(),) for address in _servers(hosts)]
    context = tls.context()
    without = 0
    for address in asked:
        if len(asked) > 1 and not json:
            print(address, flush=True)
        try:
            mode = ask_mode(address, context)
        except NoMode as error:
            without += 1
            if json:
                print(json_text.dumps({"server": address, "mode": None, "error": str(error)}))
            else:
                complain("recipes", f"{address}: {error}")
        else:
            print(json_text.dumps({"server": address, "mode": mode}) if json else f"Mode: {mode}")
    return 1 if without else 0


def _servers(hosts: str) -> list[str]:
    return [hosts] if is_store(hosts) else split_hosts(hosts)


def ask_mode(address: str, tls: ssl.SSLContext | None = None) -> str:
    """The mode of a server, `HOST:PORT` or `unix:PATH`, or of a store, from its answer to srvr. Raises NoMode."""
    answer = b""
    if is_store(address):
        try:
            served = address_of(named_store(address))
        except RecipesError as error:
            raise NoMode(str(error)) from None
        if served is None:
            raise NoMode("it does not run now; it is started when it is used")
        address = served
    try:
        with ExitStack() as stack:
            connection = stack.enter_context(open_connection(address))
            if tls is not None:
                host = split_address(address)[0]
                connection = stack.enter_context(tls.wrap_socket(connection, server_hostname=host))
            connection.sendall(b"srvr")
            while len(answer) < _MOST_BYTES and (piece := connection.recv(65536)):
                answer += piece
    except NAME_ERRORS:
        raise NoMode("name not known") from None
    except TimeoutError:
        if not answer:
            raise NoMode(f"error contacting service: no answer within {_PATIENCE_S:g} s") from None
    except ssl.SSLError as error:
        if not answer:
            why = getattr(error, "verify_message", "") or (error.reason or str(error)).replace("_", " ").lower()
            raise NoMode(f"the TLS handshake failed: {why}") from None
    except OSError:
        if not answer:
            raise NoMode("error contacting service, it is probably not running") from None
    return _mode(answer.decode("utf-8", "replace"))


def _mode(answer: str) -> str:
    for line in answer.splitlines():
        if line.startswith("Mode: "):
            return escaped(line.removeprefix("Mode: ").strip())
    if answer.startswith("This ZooKeeper instance is not currently serving requests"):
        raise NoMode("running, but not serving: it has no leader")
    if "not in the whitelist" in answer:
        raise NoMode("running, but srvr is not in its 4lw.commands.whitelist")
    raise NoMode("no answer to srvr: it is not a ZooKeeper server, or expects TLS")
