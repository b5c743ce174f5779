"""Permissions: one function, `permits`, decides, and it denies any scheme that it does not know.

An ACL is a tuple of (perms, scheme, id); the identities of a connection are (scheme, id) pairs. Source:
ZooKeeperServer.checkACL, PrepRequestProcessor.fixupACL and the providers in org.apache.zookeeper.server.auth.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha1
from hmac import compare_digest
from itertools import islice
from typing import Final

from recipes.core.jute.codec import text
from recipes.core.jute.records import OPEN_ACL, Ids
from recipes.core.tree.znode import Acl

WORLD_ANYONE: Final = (b"world", b"anyone")
READ_ONLY_ACL: Acl = ((1, *WORLD_ANYONE),)
# With skipACL=yes every client has this identity too. It permits everything, and is not sent to another server.
UNCHECKED: Ids = ((b"", b""),)
_ACL_BYTES: Final = 160  # with its place in the table
_ENTRY_BYTES: Final = 160
_NUMBER: Final = re.compile(rb"[+-]?[0-9]{1,20}")
_EVERYTHING: Final = (b"super", b"")  # schemes that need no entry
_AUTHENTICATED: Final = (b"digest", b"x509")  # schemes of the identities that replace `auth`


class AclTable:
    """Keeps one object per distinct ACL, shared by all znodes that have it.

    Whoever looks at all znodes, in slices, can tell which ACLs are in use: `begin_era` before, and `drop` behind it
    those that were not seen. A packed znode has its ACL's number here.
    """

    __slots__ = ("_bytes", "_era", "_eras", "_last", "_measured", "_numbered", "_numbers", "_shared")

    def __init__(self) -> None:
        self._shared: dict[Acl, Acl] = {OPEN_ACL: OPEN_ACL, READ_ONLY_ACL: READ_ONLY_ACL}
        self._era = 0
        self._eras: dict[Acl, int] = {}  # when each was last given to a znode
        self._measured = self._bytes = 0  # the first so many take so much
        self._numbers: dict[Acl, int] = {}
        self._numbered: dict[int, Acl] = {}
        self._last = 0

    def intern(self, acl: Acl) -> Acl:
        """The shared object equal to `acl`, for a znode that gets it."""
        if acl is OPEN_ACL:
            return acl
        found = self._shared.setdefault(acl, acl)
        self._eras[found] = self._era
        return found

    def number_of(self, acl: Acl) -> int:
        """A number for an ACL of this table, for as long as some znode has it."""
        number = self._numbers.get(acl)
        if number is None:
            self._last = number = self._last + 1
            self._numbers[acl] = number
            self._numbered[number] = acl
        return number

    def numbered(self, number: int) -> Acl:
        """The ACL with this number."""
        return self._numbered[number]

    def begin_era(self) -> int:
        """The number of a new era."""
        self._era += 1
        return self._era

    def drop(self, unused: Iterable[Acl], era: int) -> None:
        """Forget these, but not those that a znode got in this era or later."""
        for acl in unused:
            if self._eras.get(acl, era) < era:
                del self._eras[acl], self._shared[acl]
                number = self._numbers.pop(acl, None)
                if number is not None:
                    del self._numbered[number]
        self._measured = self._bytes = 0

    def __iter__(self) -> Iterator[Acl]:
        return iter(self._shared)

    def measure(self) -> int:
        """About how much memory they take, in bytes."""
        for acl in islice(self._shared, self._measured, None):
            self._bytes += _ACL_BYTES + _ENTRY_BYTES * len(acl) + size_bytes(acl)
        self._measured = len(self._shared)
        return self._bytes

    def __len__(self) -> int:
        return len(self._shared)


def shared(ids: Ids) -> Ids:
    """The identities that other servers may know: each decides by its own settings whether ACLs count."""
    return tuple(pair for pair in ids if pair[0]) if UNCHECKED[0] in ids else ids


def permits(acl: Acl, perm: int, ids: Ids) -> bool:
    """Whether `ids` have one of the permissions in `perm`. An empty ACL permits only super."""
    if acl is OPEN_ACL:
        return True
    for perms, scheme, ident in acl:
        if perms & perm:
            if scheme == b"world" and ident == b"anyone":
                return True
            for held_scheme, held in ids:
                if held_scheme == scheme and _matches(scheme, held, ident):
                    return True
    return any(scheme in _EVERYTHING for scheme, _ in ids)


def unshared(acl: Acl) -> Acl:
    """An equal ACL, but never OPEN_ACL itself, for which nothing else is looked at."""
    return tuple(list(acl))


def fix_up(entries: Acl | None, ids: Ids) -> Acl | None:
    """The ACL to store for the one that a client sent: without duplicates, and with the client's identities for `auth`.

    None when the ACL is not valid (InvalidACL).
    """
    if entries == OPEN_ACL:
        return OPEN_ACL
    if not entries:
        return None
    fixed: dict[tuple[int, bytes, bytes], None] = {}
    for perms, scheme, ident in entries:
        if (scheme, ident) == WORLD_ANYONE:
            fixed[perms, scheme, ident] = None
        elif scheme == b"auth":
            mine = [(held_scheme, held) for held_scheme, held in ids if held_scheme in _AUTHENTICATED]
            if not mine:
                return None
            fixed.update(((perms, *pair), None) for pair in mine)
        elif _is_valid(scheme, ident):
            fixed[perms, scheme, ident] = None
        else:
            return None
    return tuple(fixed)


def authenticate(scheme: bytes, credentials: bytes | None, address: bytes, super_digest: bytes | None) -> Ids | None:
    """The identities that credentials give, or None when they are refused.

    super_digest: `super:<hash>` of the superuser; None where there is none. address: empty on a Unix socket.
    """
    if scheme == b"ip":
        return ((b"ip", address),) if address else ()
    if scheme != b"digest" or credentials is None:
        return None
    ident = digest_id(credentials)
    if super_digest is not None and compare_digest(ident, super_digest):
        return ((b"super", b""), (b"digest", ident))
    return ((b"digest", ident),)


def digest_id(credentials: bytes) -> bytes:
    """`user:password` as the scheme digest stores it: the user, and a hash of the whole text."""
    credentials = text(credentials).encode()
    user = credentials.partition(b":")[0]
    return user + b":" + b64encode(sha1(credentials).digest())


def size_bytes(acl: Acl) -> int:
    """How long it is in a txn."""
    return sum(12 + len(scheme) + len(ident) for _, scheme, ident in acl)


def masked(acl: Acl) -> Acl:
    """The ACL with the hashes of its digests hidden, for a client without the ADMIN permission."""
    return tuple(
        (perms, scheme, ident.partition(b":")[0] + b":x" if scheme == b"digest" else ident)
        for perms, scheme, ident in acl
    )


def user_name(scheme: bytes, ident: bytes) -> bytes:
    """The name whoAmI shows for an identity."""
    return ident.partition(b":")[0] if scheme == b"digest" else ident


def _matches(scheme: bytes, held: bytes, wanted: bytes) -> bool:
    if scheme == b"ip":
        network = _network(wanted)
        address = _ipv4(held)
        return network is not None and address is not None and (address & network[1]) == (network[0] & network[1])
    return held == wanted


def _is_valid(scheme: bytes, ident: bytes) -> bool:
    if scheme == b"digest":
        return ident.rstrip(b":").count(b":") == 1  # two parts; Java drops empty ones at the end
    if scheme == b"ip":
        return _network(ident) is not None
    return scheme == b"x509" and b"=" in ident


def _network(network: bytes) -> tuple[int, int] | None:
    """Address and mask of `1.2.3.4` or `1.2.3.0/24`."""
    address, slash, bits = network.partition(b"/")
    number = _ipv4(address)
    length = _number(bits, 32) if slash else 32
    if number is None or length is None:
        return None
    return number, (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF


def _ipv4(address: bytes) -> int | None:
    parts = [_number(part, 255) for part in address.split(b".")]
    if len(parts) != 4 or None in parts:
        return None
    return int.from_bytes(bytes(part or 0 for part in parts), "big")


def _number(digits: bytes, most: int) -> int | None:
    """A number from 0 to `most` as Java reads one: a sign and leading zeros are allowed. None if it is none."""
    if not _NUMBER.fullmatch(digits):
        return None
    number = int(digits)
    return number if 0 <= number <= most else None
