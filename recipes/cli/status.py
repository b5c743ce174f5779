"""`recipes status`: what role each server has, asked with the four-letter word srvr."""

import json as json_text
import socket
import sys

from recipes.cli.hosts import NAME_ERRORS, split_address, split_hosts, stated_hosts

_PATIENCE_S = 5.0
_MOST_BYTES = 65536  # of an answer; who says more is no ZooKeeper server


class NoMode(Exception):
    """A server has not told its mode: why, as one would tell an operator."""


def status(*addresses: str, json: bool = False) -> int:
    """Print the mode of each server; exit 1 when one of them does not tell it.

    Args:
        addresses: HOST:PORT,... of the servers; RECIPES_HOSTS or 127.0.0.1:2181 when none is given.
        json: print one JSON object per server.
    """
    asked = [address for hosts in addresses or (stated_hosts(),) for address in split_hosts(hosts)]
    without = 0
    for address in asked:
        host, port = split_address(address)
        if len(asked) > 1 and not json:
            print(address, flush=True)
        try:
            mode = ask_mode(host, port)
        except NoMode as error:
            without += 1
            if json:
                print(json_text.dumps({"server": address, "mode": None, "error": str(error)}))
            else:
                print(f"recipes: {address}: {error}", file=sys.stderr)
        else:
            print(json_text.dumps({"server": address, "mode": mode}) if json else f"Mode: {mode}")
    return 1 if without else 0


def ask_mode(host: str, port: int) -> str:
    """The server's mode as srvr tells it. Raises NoMode."""
    answer = b""
    try:
        with socket.create_connection((host, port), timeout=_PATIENCE_S) as connection:
            connection.sendall(b"srvr")
            while len(answer) < _MOST_BYTES and (piece := connection.recv(65536)):
                answer += piece
    except NAME_ERRORS:
        raise NoMode("name not known") from None
    except TimeoutError:
        if not answer:
            raise NoMode(f"error contacting service: no answer within {_PATIENCE_S:g} s") from None
    except OSError:
        if not answer:
            raise NoMode("error contacting service, it is probably not running") from None
    return _mode(answer.decode("utf-8", "replace"))


def _mode(answer: str) -> str:
    for line in answer.splitlines():
        if line.startswith("Mode: "):
            return line.removeprefix("Mode: ").strip()
    if answer.startswith("This ZooKeeper instance is not currently serving requests"):
        raise NoMode("running, but not serving: it has no leader")
    if "not in the whitelist" in answer:
        raise NoMode("running, but srvr is not in its 4lw.commands.whitelist")
    raise NoMode("not a ZooKeeper server, or one that wants TLS: it does not answer srvr")
