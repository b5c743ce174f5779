"""A certificate is a server's if it names that server's host; checked against what OpenSSL says at a handshake."""

from __future__ import annotations

import ssl

import pytest
import trustme

from recipes.core.server.certificate import names, why_not

# names in the certificate, common name, host, whether they match
CASES = [
    (["zk1.example.org"], None, "zk1.example.org", True),
    (["zk1.example.org"], None, "ZK1.Example.org", True),
    (["zk1.example.org"], None, "zk2.example.org", False),
    (["zk1.example.org"], None, "example.org", False),
    (["zk1.example.org", "zk2.example.org"], None, "zk2.example.org", True),
    (["*.example.org"], None, "zk1.example.org", True),
    (["*.example.org"], None, "a.zk1.example.org", False),
    (["*.example.org"], None, "example.org", False),
    (["127.0.0.1"], None, "127.0.0.1", True),
    (["127.0.0.1"], None, "127.0.0.2", False),
    (["::1"], None, "::1", True),
    (["::1"], None, "0:0:0:0:0:0:0:1", True),
    (["::2"], None, "::1", False),
    (["127.0.0.1"], None, "localhost", False),
    (["localhost"], None, "127.0.0.1", False),
    (["127.0.0.1"], "zk1.example.org", "zk1.example.org", True),  # the common name counts: no host name is listed
    (["zk2.example.org"], "zk1.example.org", "zk1.example.org", False),
    (["someone@example.org"], "127.0.0.1", "127.0.0.1", False),
]


def pass_on(one: ssl.MemoryBIO, other: ssl.MemoryBIO) -> None:
    other.write(one.read())


def handshake(authority: trustme.CA, listed: list[str], common_name: str | None, host: str) -> tuple[bool, dict]:
    """What a client that dials this host says of the certificate, and the certificate as Python shows it."""
    certificate = authority.issue_cert(*listed, common_name=common_name)
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)]
    for context in contexts:
        authority.configure_trust(context)
        certificate.configure_cert(context)
        context.verify_mode = ssl.CERT_REQUIRED
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts[0].wrap_bio(to_client, to_server, server_hostname=host)
    server = contexts[1].wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False, {}
    shown = server.getpeercert()
    assert shown is not None
    return True, shown


@pytest.mark.parametrize(("listed", "common_name", "host", "matches"), CASES)
def test_f6_a_certificate_names_a_host_as_openssl_says(listed, common_name, host, matches):
    authority = trustme.CA()
    said, _ = handshake(authority, listed, common_name, host)
    assert said is matches
    good = next(each for each in listed if "@" not in each) if any("@" not in each for each in listed) else None
    dialled = (good or common_name or host).replace("*", "any")
    if good is None:  # nobody can dial a server with such a certificate: build the dictionary by hand
        shown = {"subjectAltName": (("email", listed[0]),), "subject": ((("commonName", common_name),),)}
    else:
        _, shown = handshake(authority, listed, common_name, dialled)
    assert names(shown, host) is matches


def test_f6_the_sentence_names_server_certificate_and_key():
    shown = {"subjectAltName": (("DNS", "zk3"), ("IP Address", "10.0.0.3"), ("email", "a@b"))}
    hosts = {1: ["zk1", "10.0.0.1"], 3: ["10.0.0.3"]}
    assert why_not(hosts, shown, 3) == ""
    assert why_not(hosts, shown, 1) == (
        "it says that it is server 1, and its certificate is for zk3, 10.0.0.3: expected one for zk1 or 10.0.0.1, "
        "the host in the line server.1 (or ssl.quorum.clientHostnameVerification=false)"
    )
