"""Who may do what with a znode: the permission bits, and the ACLs that most programs want (ZooDefs.Perms, ZooDefs.Ids).

await client.create("/app", acl=CREATOR_ALL_ACL)
await client.create("/app/seen", acl=[*CREATOR_ALL_ACL, ACL(Perms.READ, Id("world", "anyone"))])
await client.set_acl("/app/jobs", [digest_acl("worker", "secret", Perms.READ | Perms.CREATE)])
"""

from base64 import b64encode
from enum import IntFlag
from hashlib import sha1
from typing import Final

from recipes.core.jute.records import ACL, Id


class Perms(IntFlag):
    """What an entry of an ACL permits; combine them with `|`."""

    READ = 1  # get the data, list the children
    WRITE = 2  # set the data
    CREATE = 4  # create children
    DELETE = 8  # delete children
    ADMIN = 16  # set the ACL
    ALL = 31


_ANYONE: Final = Id("world", "anyone")

# Everybody may do everything: the ACL of a create without `acl`.
OPEN_ACL_UNSAFE: Final[tuple[ACL, ...]] = (ACL(Perms.ALL, _ANYONE),)
# The creator may do everything: the server puts in the identities that the client has shown by `auth` or `add_auth`.
CREATOR_ALL_ACL: Final[tuple[ACL, ...]] = (ACL(Perms.ALL, Id("auth", "")),)
# Everybody may read, nobody may change anything.
READ_ACL_UNSAFE: Final[tuple[ACL, ...]] = (ACL(Perms.READ, _ANYONE),)


def digest_acl(user: str, password: str, perms: Perms = Perms.ALL) -> ACL:
    """An ACL entry for a client that shows `("digest", "user:password")`; it holds a hash of the password.

    Raises ValueError for a user with a colon: the user's name ends at the first colon.
    """
    if ":" in user:
        raise ValueError(f"user={user!r}: expected a name without a colon")
    credentials = f"{user}:{password}".encode()
    return ACL(perms, Id("digest", f"{user}:{b64encode(sha1(credentials).digest()).decode()}"))
