"""Decoding of replies into the results of reads."""

from recipes.core.jute import requests as rq
from recipes.core.jute.codec import texts
from recipes.core.jute.records import Stat, decode_stat


def read_stat(reply: bytes, at: int) -> Stat:
    """The Stat."""
    return decode_stat(reply, at)[0]


def read_node(reply: bytes, at: int) -> tuple[bytes, Stat]:
    """Data and Stat."""
    data, stat, _ = rq.decode_data_stat(reply, at)
    return data or b"", stat


def read_children(reply: bytes, at: int) -> list[bytes]:
    """Names or paths, undecoded and in the server's order."""
    return rq.decode_children(reply, at)[0]


def read_names(reply: bytes, at: int) -> list[str]:
    """Names, sorted."""
    return sorted(texts(read_children(reply, at)))


def read_names_stat(reply: bytes, at: int) -> tuple[list[str], Stat]:
    """Names, sorted, and the Stat."""
    names, at = rq.decode_children(reply, at)
    return sorted(texts(names)), decode_stat(reply, at)[0]
