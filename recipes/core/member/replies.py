"""What a connection says in replies that are longer to put together, and to operators when it hangs up."""

from recipes.core.codes import MARSHALLING_ERROR
from recipes.core.errors import WireError
from recipes.core.jute import opcodes as op
from recipes.core.jute.codec import pack_int, read_buffer, write_buffer
from recipes.core.jute.requests import MULTI_END, pack_multi_header
from recipes.core.tree.tree import Part

_CHECKED, _DELETED, _CREATED = (pack_multi_header(kind, 0) for kind in (op.CHECK, op.DELETE, op.CREATE))


def synced_path(body: bytes) -> tuple[int, bytes | None]:
    try:
        return 0, read_buffer(body, 0)[0]
    except WireError:
        return MARSHALLING_ERROR, None


def multi_body(parts: list[Part]) -> bytes:
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
    if length > limit:
        return f"a request has {length} bytes, jute.maxbuffer allows {limit}"
    return f"a request of {length} bytes is too short"
