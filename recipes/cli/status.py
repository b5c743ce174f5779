"""`recipes status`: what role each server has, asked with the four-letter word srvr."""

import json as json_text
import os
import socket
import sys

from recipes.cli.hosts import split_address


def status(*addresses: str, json: bool = False) -> int:
    """Print the mode of each server; exit 1 when one of them cannot be reached.

    Args:
        addresses: HOST:PORT of each server; RECIPES_HOSTS or 127.0.0.1:2181 when none is given.
        json: print one JSON object per server.
    """
    if not addresses:
        hosts = os.environ.get("RECIPES_HOSTS") or "127.0.0.1:2181"
        addresses = tuple(hosts.partition("/")[0].split(","))
    unreachable = 0
    for address in addresses:
        mode = ask_mode(*split_address(address))
        unreachable += mode is None
        if json:
            print(json_text.dumps({"server": address, "mode": mode}))
            continue
        if len(addresses) > 1:
            print(address)
        if mode is None:
            print(f"recipes: {address}: error contacting service, it is probably not running", file=sys.stderr)
        else:
            print(f"Mode: {mode}")
    return 1 if unreachable else 0


def ask_mode(host: str, port: int) -> str | None:
    """The server's mode as srvr tells it; None when no server answers so."""
    answer = b""
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            connection.sendall(b"srvr")
            while piece := connection.recv(65536):
                answer += piece
    except OSError:
        return None
    for line in answer.decode("utf-8", "replace").splitlines():
        if line.startswith("Mode: "):
            return line.removeprefix("Mode: ").strip()
    return None
