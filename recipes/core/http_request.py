"""The head of an HTTP request: what it asks for, under which name, and whether a page of another site has made it."""

from collections.abc import Mapping
from typing import NamedTuple


class HttpRequest(NamedTuple):
    """The head of a request. fields: by name, in lower case; the values of a repeated one are joined by commas."""

    method: str
    path: str
    query: str
    fields: Mapping[str, str]


def read_head(head: bytes) -> HttpRequest:
    """Read a head, up to the empty line at its end."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    path, _, query = rest.partition(" ")[0].partition("?")
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return HttpRequest(method, path, query, fields)


def is_of_other_site(fields: Mapping[str, str], host: str) -> bool:
    """Whether a browser has sent this for a page of another site: it says so itself."""
    origin = fields.get("origin")
    other = origin is not None and origin.partition("://")[2].lower() != host.lower()
    return other or fields.get("sec-fetch-site", "none") not in ("none", "same-origin")


def name_of_host(host: str) -> str:
    """The name or the address in a Host field, without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
