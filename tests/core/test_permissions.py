"""Permission bits and ready ACLs, against ours and Apache's: the same names mean the same."""

import pytest

from recipes import ACL, CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Id, NoAuth, Perms, connect, digest_acl
from recipes.core.jute import opcodes as op
from recipes.core.tree.acl import digest_id


def test_bits_are_zookeepers():
    assert [each.value for each in Perms] == [op.READ, op.WRITE, op.CREATE_PERM, op.DELETE_PERM, op.ADMIN]
    assert Perms.READ | Perms.WRITE | Perms.CREATE | Perms.DELETE | Perms.ADMIN == Perms.ALL == op.ALL


def test_a_digest_is_hashed_as_the_server_hashes_it():
    assert digest_acl("ann", "pä:ss", Perms.READ) == ACL(1, Id("digest", digest_id("ann:pä:ss".encode()).decode()))


def test_a_user_with_a_colon_is_refused():
    with pytest.raises(ValueError, match="user='a:b': expected a name without a colon"):
        digest_acl("a:b", "c")


@pytest.mark.anyio
async def test_ready_acls_permit_what_they_say(hosts, root):
    async with connect(hosts, auth=[("digest", "ann:pass")]) as ann, connect(hosts) as other:
        await ann.create(root, b"open", acl=OPEN_ACL_UNSAFE)
        await ann.create(f"{root}/mine", b"mine", acl=CREATOR_ALL_ACL)
        await ann.create(f"{root}/shown", b"shown", acl=[*CREATOR_ALL_ACL, *READ_ACL_UNSAFE])
        await ann.create(f"{root}/lent", b"lent", acl=[digest_acl("bob", "word", Perms.READ)])
        assert (await other.get(f"{root}/shown"))[0] == b"shown"
        for call in (other.get(f"{root}/mine"), other.set(f"{root}/shown", b""), ann.get(f"{root}/lent")):
            with pytest.raises(NoAuth):
                await call
        await other.add_auth("digest", "bob:word")
        assert (await other.get(f"{root}/lent"))[0] == b"lent"
        with pytest.raises(NoAuth):
            await other.set(f"{root}/lent", b"")
