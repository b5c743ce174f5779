"""A znode that has not changed for a while, as one bytes object: a fraction of a ZNode and its numbers.

Only a znode without children and owner is packed. Which fields are there depends on its history:

    made     kind, place, digest, czxid, ctime            unchanged since it was created, with the open ACL
    set      ... mzxid, mtime, version                    only its data were changed
    any      ... pzxid, cversion, aversion, ACL's number

The data follow. The bit NO_DATA in the kind says that there are none, not even empty ones.
"""

from struct import Struct
from typing import Final

from recipes.core.jute.records import OPEN_ACL, STAT
from recipes.core.tree.acl import AclTable
from recipes.core.tree.znode import Acl, Numbers, ZNode, made_of

# What it takes in memory beside its path and data: an object's head, numbers, a place in a dict and one in a list.
PACKED_BYTES: Final = 170

_MADE, _SET, _ANY, _NO_DATA = 0, 1, 2, 4
_KIND: Final = 3
_made: Final = Struct(">BIIqq")
_set: Final = Struct(">BIIqqqqi")
_any: Final = Struct(">BIIqqqqiqiiI")
_place: Final = Struct(">xI")
_digest: Final = Struct(">5xI")
_SIZES: Final = (_made.size, _set.size, _any.size)
_MADE_BYTES, _SET_BYTES = _SIZES[:2]
# Looked up for every create and get. pack_made: the record without its data.
pack_made: Final = _made.pack
_made_numbers: Final = Struct(">9xqq").unpack_from
_set_numbers: Final = Struct(">9xqqqqi").unpack_from
_pack_stat: Final = STAT.pack


def pack(
    data: bytes | None,
    acl: Acl,
    numbers: Numbers,
    place: int,
    digest: int,
    acls: AclTable,
) -> bytes:
    """A znode without children and owner. digest: its part of the tree's."""
    czxid, mzxid, ctime, mtime, version, cversion, aversion, pzxid = numbers
    none = 0 if data is not None else _NO_DATA
    if acl is not OPEN_ACL or pzxid != czxid or cversion or aversion:
        number = acls.number_of(acl)
        head = _any.pack(
            _ANY | none, place, digest, czxid, ctime, mzxid, mtime, version, pzxid, cversion, aversion, number
        )
    elif mzxid != czxid or mtime != ctime or version:
        head = _set.pack(_SET | none, place, digest, czxid, ctime, mzxid, mtime, version)
    else:
        head = _made.pack(none, place, digest, czxid, ctime)
    return head + data if data else head


def pack_node(node: ZNode, digest: int, acls: AclTable) -> bytes:
    """The same of a ZNode."""
    czxid, data = node.czxid, node.data
    if (  # most are so, and a load of creates must not wait for this
        node.mzxid == czxid == node.pzxid
        and node.acl is OPEN_ACL
        and data is not None
        and node.mtime == node.ctime
        and not (node.version or node.cversion or node.aversion)
    ):
        return pack_made(_MADE, node.place, digest, czxid, node.ctime) + data
    numbers = (
        node.czxid, node.mzxid, node.ctime, node.mtime, node.version, node.cversion, node.aversion, node.pzxid
    )  # fmt: skip
    return pack(node.data, node.acl, numbers, node.place, digest, acls)


def numbers_of(record: bytes) -> Numbers:
    """What a snapshot has of it."""
    kind = record[0] & _KIND
    if kind == _MADE:
        _, _, _, czxid, ctime = _made.unpack_from(record)
        return czxid, czxid, ctime, ctime, 0, 0, 0, czxid
    if kind == _SET:
        _, _, _, czxid, ctime, mzxid, mtime, version = _set.unpack_from(record)
        return czxid, mzxid, ctime, mtime, version, 0, 0, czxid
    _, _, _, czxid, ctime, mzxid, mtime, version, pzxid, cversion, aversion, _ = _any.unpack_from(record)
    return czxid, mzxid, ctime, mtime, version, cversion, aversion, pzxid


def acl_of(record: bytes, acls: AclTable) -> Acl:
    """Its ACL."""
    return acls.numbered(_any.unpack_from(record)[11]) if record[0] & _KIND == _ANY else OPEN_ACL


def data_of(record: bytes) -> bytes | None:
    """Its data."""
    kind = record[0]
    return record[_SIZES[kind & _KIND] :] if kind < _NO_DATA else None


def size_of(record: bytes) -> int:
    """How many bytes its data have."""
    return len(record) - _SIZES[record[0] & _KIND]


def digest_of(record: bytes) -> int:
    """Its part of the tree's digest."""
    digest: int = _digest.unpack_from(record)[0]
    return digest


def open_node(record: bytes) -> tuple[bytes, bytes] | None:
    """Its data, and its Stat as it goes on the wire; None if it has no data, or another ACL than the open one."""
    kind = record[0]
    if kind == _MADE:
        czxid, ctime = _made_numbers(record)
        data = record[_MADE_BYTES:]
        return data, _pack_stat(czxid, czxid, ctime, ctime, 0, 0, 0, 0, len(data), 0, czxid)
    if kind == _SET:
        czxid, ctime, mzxid, mtime, version = _set_numbers(record)
        data = record[_SET_BYTES:]
        return data, _pack_stat(czxid, mzxid, ctime, mtime, version, 0, 0, 0, len(data), 0, czxid)
    return None


def unpack(record: bytes, acls: AclTable) -> ZNode:
    """The znode; changes of it do not change the record."""
    node = made_of(data_of(record), acl_of(record, acls), 0, numbers_of(record))
    node.digest = digest_of(record)
    node.place = _place.unpack_from(record)[0]
    return node
