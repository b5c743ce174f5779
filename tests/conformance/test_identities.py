"""Which ACL entries and which credentials are taken, and what they become: odd ones too, the same at both servers."""

from __future__ import annotations

import struct

import pytest

pytestmark = pytest.mark.apache
IP = [
    "1.2.3.4", "1.2.3.4/0", "1.2.3.4/32", "1.2.3.4/33", "1.2.3.4/-1", "1.2.3.4/", "1.2.3.4/a", "1.2.3", "1.2.3.4.5",
    "1.2.3.256", "::1", "01.2.3.4", "0001.2.3.4", "1.2.3.4/01", "1.2.3.4/+1", " 1.2.3.4", "1.2.3.4 ", "1.2.3.4/1/2", "",
    "+1.2.3.4", "1.2.3.-0", "1..3.4", "1.2.3.4.", "127.0.0.1", "+127.0.0.1/8",
]  # fmt: skip
DIGEST = ["a:b", "a", "a:", ":b", "a:b:c", "a::b", "a:b:", "", ":", "::", "\u00e9:x", "a:b::"]
OTHER = [
    ("auth", "x"), ("auth", None), ("world", "anyone"), ("world", "x"), (None, "anyone"), ("super", "x"),
    ("sasl", "bob"), ("sasl", None), ("WORLD", "anyone"), ("", ""),
]  # fmt: skip
ENTRIES = [("ip", ident) for ident in IP] + [("digest", ident) for ident in DIGEST] + OTHER
CREDENTIALS = [
    ("digest", "bob:pw"), ("digest", ""), ("digest", "nocolon"), ("digest", None), ("digest", ":"),
    ("digest", b"\xff:\xff"), ("digest", "\u00e9:\u00fc"), ("DIGEST", "a:b"), ("ip", ""), ("ip", "9.9.9.9"),
    ("ip", None), ("world", ""), ("super", "x"), ("auth", "x"), ("sasl", ""), (None, "x"), ("", ""),
]  # fmt: skip
# They tell no more apart than the two named below, and are another 141 tests.
MORE_PERMS = [pytest.param(perms, marks=pytest.mark.thorough) for perms in (1, 0, 1 << 20)]


def entry(client, scheme, ident, perms: int) -> bytes:
    return struct.pack(">ii", 1, perms) + client.text(scheme) + client.text(ident)


@pytest.mark.parametrize(
    "perms", [31, -1, *(pytest.param(perms, marks=pytest.mark.thorough) for perms in (1, 0, 1 << 20))]
)
@pytest.mark.parametrize(("scheme", "ident"), ENTRIES)
def test_an_acl_entry(our_server, apache_server, wire, root, scheme, ident, perms):
    found = []
    for server in (our_server, apache_server):
        client = wire(server.port)
        body = client.text(root) + client.text("") + entry(client, scheme, ident, perms) + struct.pack(">i", 0)
        created = client.call(1, body)
        error, answer = client.call(6, client.text(root))
        found.append((created, error, answer[:-68]))
    assert found[0] == found[1]


@pytest.mark.parametrize(("scheme", "credentials"), CREDENTIALS)
def test_credentials(our_server, apache_server, wire, root, in_order, scheme, credentials):
    found = []
    for server in (our_server, apache_server):
        client = wire(server.port)
        outcome: list[object] = [
            client.call(100, struct.pack(">i", 0) + client.text(scheme) + client.text(credentials))
        ]
        try:
            outcome.append(in_order(107, client.call(107)[1]))
            body = client.text(root) + client.text("") + entry(client, "auth", "", 31) + struct.pack(">i", 0)
            outcome += [client.call(1, body), client.call(6, client.text(root))[1][:-68]]
        except (EOFError, ConnectionResetError):
            outcome.append("closed")
        found.append(outcome)
    assert found[0] == found[1]
