"""Addresses of servers as text: a host, which may be an IPv6 address in brackets, and a port."""

from typing import Final

CLIENT_PORT: Final = 2181


def split_address(text: str, port: int = CLIENT_PORT) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[host]` or `[host]:port`. port: the default. Raises ValueError."""
    host, number = text.strip(), str(port)
    if host.startswith("["):
        host, closing, behind = host[1:].partition("]")
        if not closing or (behind and not behind.startswith(":")):
            raise ValueError(f"{text!r}: expected HOST or HOST:PORT")
        number = behind[1:] or number
    elif ":" in host:
        host, _, number = host.rpartition(":")
    if not host or not (number.isascii() and number.isdigit()) or not 0 < int(number) < 65536:
        raise ValueError(f"{text!r}: expected HOST or HOST:PORT")
    return host, int(number)


def bracketed(host: str) -> str:
    """A host as it stands before a colon: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def with_port(host: str, port: int) -> str:
    """`host:port`, or `[host]:port` for an IPv6 address."""
    return f"{bracketed(host)}:{port}"


def java_host(host: str) -> str:
    """A host as Java prints it: all eight groups of an IPv6 address."""
    address, percent, zone = host.partition("%")
    if ":" not in address or "." in address:
        return host
    before, gap, behind = address.partition("::")
    first, last = before.split(":") if before else [], behind.split(":") if behind else []
    groups = [*first, *["0"] * (8 - len(first) - len(last) if gap else 0), *last]
    return ":".join(group.lstrip("0") or "0" for group in groups) + percent + zone


def java_host_port(host: str, port: int) -> str:
    """`host:port` as Java prints it, with brackets around an IPv6 address."""
    return with_port(java_host(host), port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host. Empty: a Unix socket."""
    return host in ("", "localhost", "::1") or host.startswith("127.")
