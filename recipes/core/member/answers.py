"""What a connection answers to a write, and what it says of bytes that are no requests."""

from typing import TYPE_CHECKING

from recipes.core.codes import MARSHALLING_ERROR
from recipes.core.errors import WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int, read_buffer, write_buffer
from recipes.core.jute.requests import MULTI_END, pack_multi_header
from recipes.core.tree.znode import pack_stat

if TYPE_CHECKING:
    from recipes.core.tree.tree import Part
    from recipes.core.tree.znode import ZNode

_CHECKED, _DELETED, _CREATED = (pack_multi_header(kind, 0) for kind in (op.CHECK, op.DELETE, op.CREATE))


def write_body(kind: int, path: bytes | None, node: "ZNode | None", parts: "list[Part] | None") -> bytes:
    """The body of the reply to a write that was applied."""
    if kind == op.SET_DATA or kind == op.SET_ACL:
        return pack_stat(node)  # type: ignore[arg-type]
    if kind == op.MULTI:
        return _multi_body(parts or [])
    if path is None:
        return b""
    body = write_buffer(path)
    return body if node is None or kind == op.CREATE else body + pack_stat(node)


def synced_path(body: bytes) -> tuple[int, bytes | None]:
    """The error of a sync, 0 for none, and the path that it names."""
    try:
        return 0, read_buffer(body, 0)[0]
    except WireError:
        return MARSHALLING_ERROR, None


def _multi_body(parts: "list[Part]") -> bytes:
    """The results of a multi, by the types in its txn: as in 3.8 a create2 is answered as a create."""
    chunks = []
    for kind, err, path, stat in parts:
        if kind == op.ERROR:
            chunks.append(pack_multi_header(op.ERROR, err) + pack_int(err))
        elif kind == op.CHECK:
            chunks.append(_CHECKED)
        elif kind == op.DELETE:
            chunks.append(_DELETED)
        elif kind == op.SET_DATA:
            chunks.append(pack_multi_header(kind, 0) + (stat or b""))
        elif kind == op.CREATE:
            chunks.append(_CREATED + write_buffer(path))
        else:
            chunks.append(pack_multi_header(op.CREATE2, 0) + write_buffer(path) + (stat or b""))
    return b"".join(chunks) + MULTI_END


def why_no_frame(data: bytes, length: int, limit: int) -> str:
    """What a connection begins with, if it is no request."""
    if data[:1] == b"\x16":
        return "it begins with a TLS handshake, and this port is for connections without TLS"
    if data[:4] in (b"GET ", b"HEAD", b"POST", b"PUT ", b"OPTI"):
        return "it speaks HTTP, which the admin port does"
    return f"it does not speak ZooKeeper's protocol: its first request would have {length} bytes, {limit} are allowed"


def why_no_request(length: int, limit: int) -> str:
    """What is wrong with the length of a request."""
    if length > limit:
        return f"a request has {length} bytes, jute.maxbuffer allows {limit}"
    return f"a request of {length} bytes is too short"
