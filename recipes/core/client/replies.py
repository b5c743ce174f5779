"""Decoding of replies into the results of reads."""

from struct import Struct
from struct import error as StructError

from recipes.core.jute import opcodes as op
from recipes.core.jute import requests as rq
from recipes.core.jute.codec import texts, un_int
from recipes.core.jute.records import STAT, Stat, decode_stat

_NODE = Struct(">i?ii")  # of a getData in a multiRead: its type, whether this is the end, its error, the data's length


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
    names = _cut_apart(reply, at)
    return sorted(texts(read_children(reply, at)) if names is None else names)


def read_names_stat(reply: bytes, at: int) -> tuple[list[str], Stat]:
    """Names, sorted, and the Stat."""
    names, at = rq.decode_children(reply, at)
    return sorted(texts(names)), decode_stat(reply, at)[0]


def read_nodes(reply: bytes, at: int) -> list[tuple[bytes, Stat]] | None:
    """Data and Stat of each znode, in the reply to a multiRead; None unless it has nothing else in it."""
    found: list[tuple[bytes, Stat]] = []
    try:
        while True:
            if reply.startswith(rq.MULTI_END, at):
                return found
            kind, _, _, size = _NODE.unpack_from(reply, at)
            if kind != op.GET_DATA or size < 0:
                return None
            end = at + _NODE.size + size
            found.append((reply[end - size : end], Stat._make(STAT.unpack_from(reply, end))))
            at = end + STAT.size
    except StructError:
        return None


def _cut_apart(reply: bytes, at: int) -> list[str] | None:
    """All names up to the reply's end, which is several times faster than one after the other; None if that fails.

    Names have no null characters. So where all have less than 128 ASCII characters, three of them are found only in
    front of the last byte of each length.
    """
    try:
        pieces = reply[at + 4 :].decode("ascii").split("\0\0\0")
        names = [piece[1:] for piece in pieces[1:]]
        lengths = "".join([piece[:1] for piece in pieces[1:]]).encode()
        whole = not pieces[0] and len(names) == un_int(reply, at)[0] and lengths == bytes(map(len, names))
    except ValueError:  # other characters, or a name that is too long
        return None
    return names if whole else None
