import pytest

from recipes.core.jute.opcodes import ADMIN, ALL, CREATE_PERM, DELETE_PERM, READ, WRITE
from recipes.core.tree.acl import (
    OPEN_ACL,
    READ_ONLY_ACL,
    AclTable,
    authenticate,
    digest_id,
    fix_up,
    masked,
    permits,
    user_name,
)

BOB = b"bob:ikIaKsbtGweaHnb/jKn7OHqbunM="  # of bob:pw, captured from ZooKeeper 3.8.0
ADDRESS = b"10.1.2.3"


def test_digest_id_is_the_one_zookeeper_makes():
    assert digest_id(b"bob:pw") == BOB


def test_digest_id_hashes_everything_but_names_what_is_before_the_first_colon():
    assert digest_id(b"bob:p:w").startswith(b"bob:")
    assert digest_id(b"bob:p:w") != digest_id(b"bob:p")


def test_equal_acls_share_one_object():
    table = AclTable()
    first = table.intern(((READ, b"digest", BOB),))
    assert table.intern(((READ, b"digest", bytes(bytearray(BOB))),)) is first
    assert table.intern(((31, bytes(bytearray(b"world")), b"anyone"),)) is OPEN_ACL


def test_acls_no_longer_in_use_are_forgotten():
    table = AclTable()
    used = table.intern(((READ, b"digest", BOB),))
    for number in range(100):
        table.intern(((READ, b"digest", b"user%d:x" % number),))
    era = table.begin_era()
    seen_by_nobody = [acl for acl in table if acl is not used]
    came_back = table.intern(((READ, b"digest", b"user7:x"),))
    new = table.intern(((READ, b"digest", b"new:x"),))
    table.drop(seen_by_nobody, era)
    assert set(table) == {OPEN_ACL, READ_ONLY_ACL, used, came_back, new}
    assert table.intern(((READ, b"digest", bytes(bytearray(BOB))),)) is used
    assert table.intern(((31, bytes(bytearray(b"world")), b"anyone"),)) is OPEN_ACL


@pytest.mark.parametrize("perm", [READ, WRITE, CREATE_PERM, DELETE_PERM, ADMIN])
def test_open_acl_permits_everything_and_read_only_acl_only_reading(perm):
    assert permits(OPEN_ACL, perm, ())
    assert permits(READ_ONLY_ACL, perm, ()) == (perm == READ)


def test_empty_acl_permits_super_alone():
    assert not permits((), READ, ((b"ip", ADDRESS), (b"digest", BOB)))
    assert permits((), READ, ((b"super", b""),))


def test_super_passes_an_acl_that_names_another():
    assert permits(((ALL, b"digest", BOB),), ADMIN, ((b"ip", ADDRESS), (b"super", b"")))


def test_digest_matches_on_the_whole_id_and_the_permission():
    acl = ((READ | WRITE, b"digest", BOB),)
    assert permits(acl, READ, ((b"digest", BOB),))
    assert not permits(acl, ADMIN, ((b"digest", BOB),))
    assert not permits(acl, READ, ((b"digest", b"bob:other"),))
    assert not permits(acl, READ, ((b"x509", BOB),))


def test_either_of_two_permissions_is_enough():
    assert permits(((ADMIN, b"digest", BOB),), READ | ADMIN, ((b"digest", BOB),))


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (b"10.1.2.3", True),
        (b"10.1.2.4", False),
        (b"10.1.2.0/24", True),
        (b"10.1.3.0/24", False),
        (b"10.1.2.2/31", True),
        (b"10.1.2.4/31", False),
        (b"192.0.2.1/0", True),
    ],
)
def test_ip_is_compared_under_its_mask(wanted, passes):
    assert permits(((READ, b"ip", wanted),), READ, ((b"ip", ADDRESS),)) is passes


def test_ipv6_address_matches_no_ip_entry():
    assert not permits(((READ, b"ip", b"0.0.0.0/0"),), READ, ((b"ip", b"::1"),))


def test_unknown_scheme_in_a_stored_acl_denies():
    assert not permits(((ALL, b"world", b"someone"),), READ, ((b"ip", ADDRESS),))
    assert not permits(((ALL, b"kerberos", b"bob"),), READ, ((b"ip", ADDRESS),))


def test_fix_up_gives_the_shared_open_acl():
    assert fix_up(((31, b"world", b"anyone"),), ()) is OPEN_ACL


def test_fix_up_drops_duplicates_and_keeps_order():
    bob, world = (ALL, b"digest", BOB), (READ, b"world", b"anyone")
    assert fix_up((bob, world, bob), ()) == (bob, world)


def test_fix_up_replaces_auth_by_the_identities_that_were_proved():
    ids = ((b"ip", ADDRESS), (b"digest", BOB), (b"super", b""), (b"x509", b"CN=bob"))
    assert fix_up(((READ, b"auth", b"ignored"),), ids) == ((READ, b"digest", BOB), (READ, b"x509", b"CN=bob"))


@pytest.mark.parametrize(
    "entries",
    [
        None,
        (),
        ((ALL, b"auth", b""),),
        ((ALL, b"", b""),),
        ((ALL, b"world", b"x"),),
        ((ALL, b"kerberos", b"bob"),),
        ((ALL, b"super", b""),),
        ((ALL, b"digest", b"foo"),),
        ((ALL, b"digest", b"foo:"),),
        ((ALL, b"digest", b"a:b:c"),),
        ((ALL, b"ip", b"::1"),),
        ((ALL, b"ip", b"1.2.3"),),
        ((ALL, b"ip", b"1.2.3.256"),),
        ((ALL, b"ip", b"1.2.3.4/33"),),
        ((ALL, b"ip", b"1.2.3.4/"),),
        ((ALL, b"ip", b"1.2.3.4/-1"),),
        ((ALL, b"ip", b"1.2.3.4/" + b"1" * 5000),),  # more digits than int() takes
        ((ALL, b"world", b"anyone"), (ALL, b"digest", b"foo")),
    ],
)
def test_fix_up_refuses(entries):
    assert fix_up(entries, ((b"ip", ADDRESS),)) is None


@pytest.mark.parametrize("entry", [(0, b"digest", b":b"), (ALL, b"ip", b"1.2.3.4/0"), (ALL, b"ip", b"255.0.0.1/32")])
def test_fix_up_accepts(entry):
    assert fix_up((entry,), ()) == (entry,)


def test_masked_hides_hashes_and_nothing_else():
    acl = ((ALL, b"digest", BOB), (READ, b"ip", b"10.0.0.0/8"), (READ, b"world", b"anyone"))
    assert masked(acl) == ((ALL, b"digest", b"bob:x"), *acl[1:])


def test_authenticate_by_digest():
    assert authenticate(b"digest", b"bob:pw", ADDRESS, None) == ((b"digest", BOB),)
    assert authenticate(b"digest", b"bob:pw", ADDRESS, b"super:other") == ((b"digest", BOB),)


def test_super_digest_gives_super_besides_the_digest():
    secret = digest_id(b"super:secret")
    assert authenticate(b"digest", b"super:secret", ADDRESS, secret) == ((b"super", b""), (b"digest", secret))


def test_authenticate_by_ip_takes_the_address_not_the_claim():
    assert authenticate(b"ip", b"6.6.6.6", ADDRESS, None) == ((b"ip", ADDRESS),)


@pytest.mark.parametrize("scheme", [b"", b"world", b"auth", b"super", b"sasl", b"x509"])
def test_authenticate_refuses_what_a_packet_cannot_prove(scheme):
    assert authenticate(scheme, b"bob:pw", ADDRESS, b"bob:pw") is None


def test_user_name_shows_no_hash():
    assert user_name(b"digest", BOB) == b"bob"
    assert user_name(b"ip", ADDRESS) == ADDRESS
