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
    """What an entry of an ACL permits; add them with `|`."""

    READ = 1  # get the data, list the children
    WRITE = 2  # set the data
    CREATE = 4  # create children
    DELETE = 8  # delete children
    ADMIN = 16  # set the ACL
    ALL = 31


_ANYONE: Final = Id("world", "anyone")

# Everybody everything: what a create without `acl` gets.
OPEN_ACL_UNSAFE: Final[tuple[ACL, ...]] = (ACL(Perms.ALL, _ANYONE),)
# Everything to whoever creates the znode: the server puts in what the client has shown by `auth` or `add_auth`.
CREATOR_ALL_ACL: Final[tuple[ACL, ...]] = (ACL(Perms.ALL, Id("auth", "")),)
# Everybody may read, nobody may change.
READ_ACL_UNSAFE: Final[tuple[ACL, ...]] = (ACL(Perms.READ, _ANYONE),)


def digest_acl(user: str, password: str, perms: Perms = Perms.ALL) -> ACL:
    """What a client may do that shows `("digest", "user:password")`; the ACL holds a hash of the password.

    Raises ValueError for a user with a colon: what is before the first one is the user.
    """
    if ":" in user:
        raise ValueError(f"user={user!r}: expected a name without a colon")
    credentials = f"{user}:{password}".encode()
    return ACL(perms, Id("digest", f"{user}:{b64encode(sha1(credentials).digest()).decode()}"))
